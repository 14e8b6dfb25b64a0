"""What a model is asked, and the loss of the newest step of what it answers.

A model may want tensors, a packed sequence, several arguments or keywords, and return a tensor, a
tuple or a dict of them, for every step or for the last. The measures want one tensor whose gradient
they take.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from throughtime._errors import DataError, SettingError
from throughtime.nn import Ensemble

Loss = Callable[[Any, Any], Tensor]


def measurable(model: nn.Module, inputs: Any, targets: Any) -> tuple[nn.Module, Any, Any]:
    """Return the model that can be measured: not compiled, not an ensemble, not in half precision."""
    if not isinstance(model, nn.Module):
        raise SettingError("a torch.nn.Module", type(model).__name__, "pass the model itself")
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, Ensemble):
        raise SettingError(
            "one model", "an Ensemble", "pass one of its members, ensemble.member(0)"
        )
    halves = (torch.float16, torch.bfloat16)
    if not any(p.dtype in halves for p in model.parameters()):
        return model, inputs, targets
    try:
        model = copy.deepcopy(model).float()
    except Exception as error:
        raise DataError(
            "a model in float32 or float64, or one that can be copied into it",
            f"half precision and {type(error).__name__} on copying",
            "pass model.float()",
        ) from error
    return model, *(_mapped(each, _widened) for each in (inputs, targets))


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change every tensor in a value."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, PackedSequence):
        return value._replace(data=change(value.data))
    if isinstance(value, dict):
        return {name: _mapped(part, change) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(part, change) for part in value)
    return value


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any], list[Tensor]]:
    """Return arguments and keywords for the model, and those of real numbers as leaves."""
    real: list[Tensor] = []

    def leaf(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        real.append(tensor.detach().clone().requires_grad_())
        return real[-1]

    inputs = _mapped(inputs, leaf)
    if isinstance(inputs, dict):
        return (), inputs, real
    single = isinstance(inputs, PackedSequence) or not isinstance(inputs, (tuple, list))
    return (inputs,) if single else tuple(inputs), {}, real


def output_of(answer: Any) -> Any:
    """Return the tensor that the loss reads; of a packed one the last step of every row."""
    said: Any = _first_tensor(answer)
    if isinstance(said, PackedSequence):
        padded, lengths = pad_packed_sequence(said, batch_first=True)
        said = padded[torch.arange(len(lengths)), lengths - 1]
    if said is None:
        raise DataError(
            "a tensor of real numbers in what the model returns",
            type(answer).__name__,
            "pick it: output=lambda answer: answer[...]",
        )
    return said


def _first_tensor(answer: Any) -> Any:
    """Look through tuples, dicts and records, in their order."""
    if isinstance(answer, PackedSequence) or (
        isinstance(answer, Tensor) and answer.is_floating_point()
    ):
        return answer
    parts: Sequence[Any] = ()
    if isinstance(answer, dict):
        parts = list(answer.values())
    elif isinstance(answer, (tuple, list)):
        parts = answer
    elif hasattr(answer, "__dict__"):
        parts = list(vars(answer).values())
    found = (_first_tensor(part) for part in parts)
    return next((each for each in found if each is not None), None)


def newest(said: Tensor, targets: Any, axis: int | None) -> tuple[Tensor, Any]:
    """Return the newest step of the output and of the targets, where there is an axis of time."""
    if axis is None:
        return said, targets
    T = said.shape[axis]
    if isinstance(targets, Tensor) and targets.dim() > axis and targets.shape[axis] == T:
        targets = targets.select(axis, T - 1)
    return said.select(axis, T - 1), targets


def loss_of(said: Any, targets: Any, loss: Loss | None) -> Tensor:
    """Return `loss` of what the model said; where None, that which fits the targets."""
    if loss is not None:
        return loss(said, targets)
    if targets is None:
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, said.shape, generator=generator).to(said) * 2 - 1
        total: Tensor = (said * signs).sum()
        return total
    if not targets.is_floating_point():
        entropy: Tensor = nn.functional.cross_entropy(said.flatten(0, -2), targets.flatten())
        return entropy
    if targets.numel() != said.numel():
        raise DataError(
            f"targets of shape {list(said.shape)}, as the newest output has",
            str(list(targets.shape)),
            "align them, or pass loss=",
        )
    error: Tensor = (said - targets.reshape(said.shape)).square().mean()
    return error
