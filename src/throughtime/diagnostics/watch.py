"""Watch: the gradients of a training, seen from outside while it runs.

In every update, the norm of the gradient before and after clipping; in one of `every`, the norm of
each parameter's gradient, the cosine between both gradients, and for every recurrent layer or cell
the norm of dL/d(h,c)_t over time, which the backward pass computes anyway.

All by hooks, so nothing of it changes a number, but for the last digit where the layers are PyTorch's:
they run on our kernels in the updates that are looked at. Before the model's forward pass a recording is
opened, and closed after it; when the backward pass is over the norms are taken, and before the
optimiser's step compared with what is then left. Where an output of the model is not finite, it is
run once more, without gradients and with its buffers put back, to name the part that broke first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from throughtime._checks import positive_int
from throughtime._errors import SettingError
from throughtime.diagnostics.broken import first_broken, first_broken_output, is_finite
from throughtime.diagnostics.gradient_log import GradientLog, Look
from throughtime.diagnostics.over_time import profiles, recording
from throughtime.nn.records import Recorded
from throughtime.training.observer import Evaluation, Gradient, GradientObserver, Update
from throughtime.training.parameters import members_of

ROUNDING = 1e-6  # relative; a norm that fell by less was not clipped


class Watch(GradientObserver):
    """Writes the gradients of a training into `log`, and changes nothing.

    For the trainer it is an observer, `Trainer(..., observers=[Watch(every=10)])`. For a loop of your
    own, pass model and optimiser:

        watch = Watch(model, optimizer, every=10)
        ...                                     the loop, as it was
        print(watch.log); watch.close()         or `with Watch(model, optimizer) as watch:`

    There the norm is the joint one of what the optimiser updates; a threshold is not known, so what
    is written down is the norm that clipping left. `note(loss)` tells the loss, by which harmless
    peaks are told from explosions. Forward passes without gradients are passed over. Not seen are
    layers inside compiled graphs, and what `optimizer.step(closure)` computes within; under a
    `GradScaler`, gradients are as large as it makes them.

    Raises SettingError for `every` below 1, or one of model and optimiser without the other.

    >>> from throughtime.nn import RNN
    >>> model = RNN(1, 4)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with Watch(model, optimizer, every=2) as watch:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         model(torch.ones(5, 3, 1))[0][-1].sum().backward()
    ...         _ = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    ...         optimizer.step()
    >>> watch.log.clipped_share, [look.index for look in watch.log.looks]
    (1.0, [0, 2])
    >>> watch.log.heat_map("l0").norms.shape
    (2, 5)
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        every: int = 10,
    ) -> None:
        self.log = GradientLog(positive_int("every", every))
        self._model: nn.Module | None = None
        self._index = 0
        self._handles: list[RemovableHandle] = []
        self._opened: AbstractContextManager[list[Recorded]] | None = None
        self._records: list[Recorded] = []
        self._taps: list[Recorded] = []
        self._suspect: str | None = None  # an output that is not finite, should the loss be so too
        self._has_searched = False
        self._arrived: dict[str, Tensor] = {}
        self._is_queued = False
        self._before: _Gradients | None = None
        self._loss: float | None = None
        if (model is None) != (optimizer is None):
            missing = "a model" if model is None else "an optimizer"
            raise SettingError(
                "model and optimizer for your own loop, neither for a Trainer",
                f"no {missing.split()[1]}",
                f"pass {missing} too",
            )
        if model is not None and optimizer is not None:
            self._attach(model)
            self._follow(optimizer)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def note(self, loss: Tensor | float) -> None:
        """Tell the loss of the update under way; of several, the last one counts."""
        self._loss = float(loss.detach() if isinstance(loss, Tensor) else loss)
        if not math.isfinite(self._loss):
            self._name_what_broke(())

    def close(self) -> None:
        """Take all hooks off the model and the optimiser; the log stays."""
        if self._suspect is not None:  # a loop may end where its loss is NaN, before the step
            self._name_what_broke(())
        if self._opened is not None:
            self._opened.__exit__(None, None, None)
            self._opened = None
        for handle in self._handles:
            handle.remove()
        self._handles, self._model = [], None
        self._forget()

    # What the trainer calls

    def on_start(self, name: str, total: int) -> None:
        """Begin a new log."""
        self.log = GradientLog(self.log.every)

    def watching(self, index: int, model: nn.Module) -> AbstractContextManager[object]:
        """Have the hooks on the model; they do the rest."""
        if self._model is not model:
            self.close()
            self._attach(model)
        self._index = index
        return nullcontext()

    def on_update(self, update: Update) -> None:
        """Let it pass; `on_gradient` has said it."""

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Let it pass."""

    def on_gradient(self, gradient: Gradient) -> None:
        """Write down one update."""
        update = gradient.update
        self.log.add(update.index, update.grad_norm, update.loss, update.threshold, update.clipped)
        if self._is_sampled():
            cosine, raw = 1.0, gradient.raw
            if update.clipped:
                cosine = torch.cosine_similarity(raw, gradient.clipped, dim=1).mean().item()
            self._look(cosine, _member_norms(gradient.pieces(raw)))
        if not (math.isfinite(update.loss) and math.isfinite(update.grad_norm)):
            pieces = gradient.pieces(gradient.raw)
            self._name_what_broke(reversed(pieces.items()))  # the way of the backward pass
        self._forget()

    def on_end(self, reason: str) -> None:
        """Take the hooks off."""
        self.close()

    # What hooks on the model call

    def _attach(self, model: nn.Module) -> None:
        self._model = model
        self._handles += [
            model.register_forward_pre_hook(self._before_forward),
            model.register_forward_hook(self._after_forward, with_kwargs=True, always_call=True),
        ]

    def _is_sampled(self) -> bool:
        return self._index % self.log.every == 0

    def _before_forward(self, module: nn.Module, inputs: Any) -> None:
        if not torch.is_grad_enabled():
            return
        self._is_queued = False
        if any(record.tap.dh_norm_TB is not None for record in self._taps):
            self._taps = []  # this batch is another one than what went backward before
        if self._is_sampled() and self._opened is None:
            self._opened = recording(module)
            self._records = self._opened.__enter__()

    def _after_forward(self, module: nn.Module, inputs: Any, named: Any, output: Any) -> None:
        if self._opened is not None:
            self._opened.__exit__(None, None, None)
            self._opened = None
            for record in self._records:
                self._taps.append(record._replace(inputs=()))  # which the graph needs, not we
        if torch.is_grad_enabled() and self._suspect is None and not is_finite(output):
            # once only: there are models whose outputs are meant to be infinite
            searched, self._has_searched = self._has_searched, True
            broken = None if searched else first_broken_output(module, inputs, named)
            self._suspect = broken or "output of the model"

    # What hooks on parameters and optimiser call

    def _follow(self, optimizer: torch.optim.Optimizer) -> None:
        assert self._model is not None
        names = {p: name for name, p in self._model.named_parameters()}
        for g, group in enumerate(optimizer.param_groups):
            for i, p in enumerate(group["params"]):
                name = names.get(p, f"group {g}, parameter {i}")
                if p.requires_grad:
                    hook = partial(self._after_gradient, name)
                    self._handles.append(p.register_post_accumulate_grad_hook(hook))
        self._handles.append(optimizer.register_step_pre_hook(self._before_step))

    def _after_gradient(self, name: str, parameter: Tensor) -> None:
        self._arrived[name] = parameter
        if not self._is_queued:  # once the backward pass is over, all are there
            self._is_queued = True
            torch.autograd.Variable._execution_engine.queue_callback(self._after_backward)

    @torch.no_grad()
    def _after_backward(self) -> None:
        self._is_queued = False
        self._before = _Gradients(self._arrived, keep=self._is_sampled())

    @torch.no_grad()
    def _before_step(self, *_: Any) -> None:
        found = self._before
        if found is None:
            return
        before = after = math.hypot(*found.norms)
        if found.have_changed():
            after = found.norm_now()
        fired = after < before * (1 - ROUNDING)
        self.log.add(self._index, before, self._loss, after if fired else None, fired)
        if self._is_sampled():
            cosine = found.product_now() / (before * after) if fired and after else 1.0
            self._look(cosine, dict(zip(found.names, found.norms, strict=True)))
        if not math.isfinite(before):
            self._name_what_broke(zip(found.names, found.norms, strict=True))
        self._forget()
        self._index += 1

    # What all of them share

    def _look(self, cosine: float, norms: dict[str, float]) -> None:
        members = members_of(self._model) if self._model is not None else None
        self.log.looks.append(Look(self._index, cosine, norms, profiles(self._taps, members)))

    def _forget(self) -> None:
        self._taps, self._suspect, self._loss = [], None, None
        self._arrived, self._before, self._is_queued = {}, None, False

    def _name_what_broke(self, gradients: Iterable[tuple[str, Tensor | float]]) -> None:
        """Name the first tensor that is not finite: weights, outputs, then gradients backward."""
        if self.log.not_finite is not None or self._model is None:
            return
        weights = ((f"parameter {name}", p) for name, p in self._model.named_parameters())
        slopes = ((f"gradient of {name}", gradient) for name, gradient in gradients)
        first = first_broken(weights) or self._suspect or first_broken(slopes) or "the loss"
        self.log.not_finite = f"{first}, at update {self._index}"


class _Gradients:
    """The gradients when the backward pass was done with them, and what becomes of them."""

    def __init__(self, parameters: dict[str, Tensor], keep: bool) -> None:
        self.names, self.parameters = list(parameters), list(parameters.values())
        self.found = [p.grad for p in self.parameters]
        self.versions = [0 if g is None else g._version for g in self.found]
        self.norms = _norms(self.found)
        self.copies = [None if g is None else g.clone() for g in self.found] if keep else []

    def have_changed(self) -> bool:
        """Say whether anybody has written to them, or put others in their place."""
        return any(
            p.grad is not g or (g is not None and g._version != version)
            for p, g, version in zip(self.parameters, self.found, self.versions, strict=True)
        )

    def norm_now(self) -> float:
        return math.hypot(*_norms([p.grad for p in self.parameters]))

    def product_now(self) -> float:
        """Return the inner product of what they were, if it was kept, and what they are."""
        pairs = zip(self.copies, (p.grad for p in self.parameters), strict=True)
        return sum(float((a * b).sum()) for a, b in pairs if a is not None and b is not None)


def _norms(gradients: list[Tensor | None]) -> list[float]:
    """Return the norm of each, 0 for none."""
    there = [
        g.coalesce().values() if g.is_sparse else g.detach() for g in gradients if g is not None
    ]
    found = torch._foreach_norm(there)
    on_host = not there or there[0].device.type == "cpu"
    norms = iter([float(norm) for norm in found] if on_host else torch.stack(list(found)).tolist())
    return [0.0 if g is None else next(norms) for g in gradients]


def _member_norms(pieces: dict[str, Tensor]) -> dict[str, float]:
    """Return the norm of each piece [E, ...], the mean over members."""
    norms = [torch.linalg.vector_norm(p.reshape(len(p), -1), dim=1) for p in pieces.values()]
    return dict(zip(pieces, torch.stack(norms).mean(dim=1).tolist(), strict=True))
