"""Many members of one model, run and trained as one.

For members m(theta_e, x) of the same form with weights theta_1..theta_E,

    Theta = [theta_1, ..., theta_E]   stacked along a leading axis E, one tensor for each name
    y_e   = m(theta_e, x_e)           all members in one call, as by torch.func.vmap

Members share nothing: the gradient of a sum of their losses is each one's own. What runs E small
products one after the other for a loop over models is here one large product. Only the fused
recurrent layers of torch, to which ours hand over on other devices than a CPU, cannot be mapped: a
model that holds one runs its members in turn, with the same results. So does one whose `template` is
being recorded (`nn.recording`): each member then has records of its own, those of the first coming first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, is_floating_point, nn
from torch.compiler import is_compiling

from throughtime._checks import positive_int
from throughtime._errors import SettingError
from throughtime.kernels.functorch import INSIDE as _functorch
from throughtime.nn.base import on_our_ground
from throughtime.nn.dilated import Layer
from throughtime.nn.records import is_recorded_in_turn

_Place = tuple[dict[str, Tensor], str]  # what holds a weight, and its name there


class Ensemble(nn.Module):
    """Members of one form, each started from its own seed, with their weights stacked.

    `state_dict` has the members' names behind `stacked.`, each tensor with a leading axis E. Dropout
    draws anew for each member. Moving, casting and train/eval act on all members.

    Args:
        build: makes one member; called once for each, on the CPU.
        members: E, how many.
        seed: where the members' seeds come from; torch's global random numbers stay as they were.

    Raises:
        SettingError: members is below 1, or `build` makes members of different shapes.

    >>> ensemble = Ensemble(lambda: nn.Linear(2, 1), members=3)
    >>> ensemble.stacked.weight.shape
    torch.Size([3, 1, 2])
    >>> ensemble(torch.zeros(3, 5, 2)).shape  # [E, B, outputs]
    torch.Size([3, 5, 1])
    """

    def __init__(self, build: Callable[[], nn.Module], members: int, seed: int = 0) -> None:
        super().__init__()
        self.members = positive_int("members", members)
        built = _build(build, members, positive_int("seed", seed, at_least=0))
        self.stacked = nn.Module()
        for name, parameter in built[0].named_parameters():
            stack = _stack([module.get_parameter(name).detach() for module in built], name)
            parent, leaf = _descend(self.stacked, name)
            parent.register_parameter(leaf, nn.Parameter(stack, parameter.requires_grad))
        for name, _ in built[0].named_buffers():
            stack = _stack([module.get_buffer(name).detach() for module in built], name)
            parent, leaf = _descend(self.stacked, name)
            parent.register_buffer(leaf, stack)
        # Only the code and the mode of the template are used; its weights are no weights of ours.
        object.__setattr__(self, "template", built[0])
        self._places = [*_places("parameters", self.stacked, built[0])]
        self._places += _places("buffers", self.stacked, built[0])
        self._fused = [layer for layer in built[0].modules() if isinstance(layer, nn.RNNBase)]

    template: nn.Module

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call every member with its part of the inputs.

        Inputs are tensors [E, ...] or tuples of such; anything else (None, a number) goes to every
        member as it is. Results have the members' form, with a leading axis E on every tensor.

        Raises SettingError where an input has another leading axis.
        """
        names = tuple(named)
        inputs = (*inputs, *named.values())
        for x in inputs:
            if isinstance(x, Tensor) and x.shape[:1] != (self.members,):
                raise SettingError(
                    f"inputs with a leading axis of {self.members} members",
                    f"shape {list(x.shape)}",
                    "give each member its own, or x.expand(members, *x.shape) to all",
                )
        self._follow_mode()
        weights = self._weights()
        if self._maps():
            return mapped(partial(self._run, names), self.members, weights, *inputs)
        parts = (_part((weights, *inputs), e) for e in range(self.members))
        return _join([self._run(names, *part) for part in parts])

    def _weights(self) -> tuple[Tensor, ...]:
        return tuple(stack[leaf] for (stack, leaf), _ in self._places)

    def _maps(self) -> bool:
        if not self._fused:
            return True
        ours = all(isinstance(f, Layer) and not is_recorded_in_turn(f) for f in self._fused)
        return ours and on_our_ground(*filter(is_floating_point, self._weights()))

    def _run(self, names: tuple[str, ...], weights: tuple[Tensor, ...], *inputs: Any) -> Any:
        """Call the template with these weights, the last of the inputs by their names.

        As `torch.func.functional_call`, which looks for where the weights belong in every call.
        """
        first = len(inputs) - len(names)
        named = dict(zip(names, inputs[first:], strict=True))
        own = [home[leaf] for _, (home, leaf) in self._places]
        try:
            for (_, (home, leaf)), weight in zip(self._places, weights, strict=True):
                home[leaf] = weight
            return self.template(*inputs[:first], **named)
        finally:
            for (_, (home, leaf)), weight in zip(self._places, own, strict=True):
                home[leaf] = weight

    def member(self, index: int) -> nn.Module:
        """Return a plain copy of one member, counted from 0, that shares nothing with the ensemble.

        Raises SettingError for an index outside 0..E-1.
        """
        if not 0 <= positive_int("index", index, at_least=0) < self.members:
            raise SettingError(
                f"index to be below {self.members}", repr(index), "members count from 0"
            )
        self._follow_mode()
        module = copy.deepcopy(self.template)
        for name, parameter in self.stacked.named_parameters():
            module.get_parameter(name).data = parameter.detach()[index].clone()
        for name, buffer in self.stacked.named_buffers():
            module.get_buffer(name).data = buffer[index].clone()
        return module

    def _follow_mode(self) -> None:
        # Not in an override of `train`: whoever restores modes sets `training` directly.
        if self.template.training != self.training:
            self.template.train(self.training)


def mapped(function: Callable[..., Any], members: int, *arguments: Any) -> Any:
    """Return what `function` makes of every member's part of the arguments, in one call.

    As `torch.func.vmap` with randomness="different": arguments and results are tensors [E, ...], in
    dicts or tuples, or anything else, which goes to every member as it is. What it does to be ready for
    more takes longer than an update of small nets.

    >>> mapped(torch.dot, 2, torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 4.])
    """
    if is_compiling():  # which can follow vmap, and not what that is made of
        axes = tuple(0 if isinstance(x, (Tensor, tuple, dict)) else None for x in arguments)
        return torch.func.vmap(function, in_dims=axes, randomness="different")(*arguments)
    if _functorch is None:
        return _by_vmap(function, arguments)
    level = _functorch._vmap_increment_nesting(members, "different")
    try:
        results = function(*_each(arguments, lambda x: _functorch._add_batch_dim(x, 0, level)))
        return _each(results, lambda y: _functorch._remove_batch_dim(y, level, members, 0))
    finally:
        _functorch._vmap_decrement_nesting()


def _by_vmap(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Return the same by public calls, which take and return tensors alone."""
    given: list[Tensor] = []
    _each(arguments, given.append)
    form: Any = None

    def tensors(*parts: Tensor) -> tuple[Tensor, ...]:
        nonlocal form
        part, made = iter(parts), list[Tensor]()
        form = function(*_each(arguments, lambda _: next(part)))
        _each(form, made.append)
        return tuple(made)

    result = iter(torch.func.vmap(tensors, randomness="different")(*given))
    return _each(form, lambda _: next(result))


def _each(tree: Any, of: Callable[[Tensor], Any]) -> Any:
    """Return a tree with `of(tensor)` for every tensor."""
    if isinstance(tree, Tensor):
        return of(tree)
    if isinstance(tree, dict):
        return {name: _each(part, of) for name, part in tree.items()}
    return tuple(_each(part, of) for part in tree) if isinstance(tree, tuple) else tree


def _build(build: Callable[[], nn.Module], members: int, seed: int) -> list[nn.Module]:
    """Make the members; only the CPU's generator is seeded, so that no other one is touched."""
    seeds = torch.randint(2**62, (members,), generator=torch.Generator().manual_seed(seed))
    built = []
    with torch.random.fork_rng(devices=[]):
        for member_seed in seeds.tolist():
            torch.default_generator.manual_seed(member_seed)
            built.append(build())
    return built


def _stack(tensors: list[Tensor], name: str) -> Tensor:
    shapes = sorted({tuple(tensor.shape) for tensor in tensors})
    if len(shapes) > 1:
        raise SettingError(
            "members of one form",
            f"{name} of shapes {', '.join(map(str, shapes))}",
            "let build() always make the same model",
        )
    return torch.stack(tensors)


def _descend(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that owns the dotted `name` under `root`, made where missing, and the last part."""
    *path, leaf = name.split(".")
    for part in path:
        if part not in dict(root.named_children()):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root, leaf


def _places(kind: str, stacked: nn.Module, template: nn.Module) -> Iterator[tuple[_Place, _Place]]:
    """Yield where the stack has a weight, and where the template, which may share it."""
    first: dict[int, str] = {}
    for name, tensor in getattr(template, f"named_{kind}")(remove_duplicate=False):
        shared = first.setdefault(id(tensor), name)
        yield _place(kind, stacked, shared), _place(kind, template, name)


def _place(kind: str, root: nn.Module, name: str) -> _Place:
    owner, leaf = _descend(root, name)
    return vars(owner)[f"_{kind}"], leaf


def _part(stack: Any, index: int) -> Any:
    """The member's share of tensors [E, ...], in tuples or dicts; anything else as it is."""
    if isinstance(stack, Tensor):
        return stack[index]
    if isinstance(stack, dict):
        return {name: _part(tensor, index) for name, tensor in stack.items()}
    return tuple(_part(s, index) for s in stack) if isinstance(stack, tuple) else stack


def _join(parts: list[Any]) -> Any:
    """The inverse of `_part`, for tuples and tensors."""
    if isinstance(parts[0], Tensor):
        return torch.stack(parts)
    return None if parts[0] is None else tuple(_join(list(p)) for p in zip(*parts, strict=True))
