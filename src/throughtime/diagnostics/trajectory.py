"""What a recurrence ran through: the states of every example, and the gradient of one loss by each.

    s_t = f(x_t, s_{t-1})            the state: h_t, or the pair (h_t, c_t)
    a_t = dL/ds_t                    the adjoint, for a loss L that reads one step

Everything the doctor measures is a function of these. One trajectory is one direction of one layer, or
one cell that was called in a loop, in the order in which it ran: for a reverse direction that is
backwards. Rows are aligned at their newest end, the newest step that the loss reads in each row, since
lags count from there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from throughtime._errors import DataError, SettingError
from throughtime.diagnostics.interception import CELL, recurrences
from throughtime.diagnostics.untouched import untouched
from throughtime.nn import Ensemble, Recorded
from throughtime.nn.following import follow

States = tuple[Tensor, ...]
Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The states that one recurrence ran through, with the adjoints of one loss.

    layer     its name: module, layer and direction
    operator  what it computes: "rnn_tanh", "rnn_relu", "lstm", "gru_after", "gru_before",
              "layer_norm_lstm"; "foreign" for a cell of somebody else's
    x         inputs [T, B, I], in the order in which they were read
    states    h [T+1, B, H], or (h, c), from the initial state to the newest that the loss reads
    adjoints  dL/dh, or dL/dh and dL/dc with h held, in the shapes of the states
    real      [T+1, B], False where a row, being shorter, has no such state
    skipped   how many steps of the run lie behind the newest that the loss reads in any row
    weights   W, U, b_ih, b_hh and what else the kernel takes; None where there is none

    `step` is f. All are detached, and in double or single precision.
    """

    layer: str
    operator: str
    x: Tensor
    states: States
    adjoints: States
    real: Tensor
    skipped: int
    weights: tuple[Tensor | None, ...]
    extras: tuple[Tensor | None, ...]
    kernel: Any

    @property
    def length(self) -> int:
        """T: how many steps there are from the initial state to the newest."""
        return self.x.shape[0]

    @property
    def joint(self) -> Tensor:
        """The states side by side, [T+1, B, n]: n is H, or 2 H for an LSTM."""
        return torch.cat(self.states, -1)

    @property
    def norms(self) -> Tensor:
        """The norm of dL/ds_t over the joint state, [T+1, B]."""
        whole = torch.cat(self.adjoints, -1).double()  # whose squares neither vanish nor overflow
        norms: Tensor = torch.linalg.vector_norm(whole, dim=-1)
        return norms

    def step(
        self,
        x: Tensor,
        states: States,
        weights: Sequence[Tensor | None] | None = None,
        extras: Sequence[Tensor | None] | None = None,
    ) -> States:
        """Return f(x, states), differentiable, for rows x [N, I] and states [N, H].

        `weights` stand in for those of the layer, `extras` for no dropout and no zoneout.
        """
        weights = self.weights if weights is None else weights
        extras = (None,) * len(self.extras) if extras is None else extras
        d, *zones = extras if extras else (None,)
        held = [zone if zone is None else zone.unsqueeze(0) for zone in zones]
        inputs = x.unsqueeze(0), *states, *weights, *((d, *held) if self.extras else ())
        _, *after = self.kernel.replay(None, inputs)
        return tuple(after)

    def rows(self, start: int = 0, stop: int | None = None) -> Rows:
        """Return the real steps start+1 ... stop of all rows in one batch."""
        stop = self.length if stop is None else stop
        real = self.real[start:stop] & self.real[start + 1 : stop + 1]
        t, b = real.nonzero(as_tuple=True)
        t = t + start
        return Rows(
            t,
            b,
            self.x[t, b],
            tuple(s[t, b] for s in self.states),
            tuple(a[t + 1, b] for a in self.adjoints),
            tuple(None if e is None else e[t, b] for e in self.extras),
        )


@dataclass(frozen=True, eq=False)
class Rows:
    """N steps as one batch: step t+1 of row b reads `x` and `before`, and has `adjoints` behind it."""

    t: Tensor
    b: Tensor
    x: Tensor
    before: States
    adjoints: States
    extras: tuple[Tensor | None, ...]


def trajectories(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss: Loss | None = None,
    *,
    output: Callable[[Any], Tensor] | None = None,
    cells: Sequence[nn.Module] = (),
    seed: int = 0,
) -> tuple[Trajectory, ...]:
    """Run a model once forward and once backward, and return what its recurrences went through.

    The loss reads one step: summed over steps it would hide that gradients vanish. Of what the model
    returns, the first tensor of real numbers is read, and where it has the axis of time, its newest
    step and that of the targets. `output` picks something else: `output=lambda answer: answer["y"]`;
    that is then read as it is. `loss` of both is a scalar or one value an example. Where None it is
    the mean squared error, the cross-entropy for whole numbers as targets, and without targets the sum
    of the outputs with random signs, whose gradient is on average that of all outputs.

    `inputs` are a tensor or a PackedSequence; a tuple is passed as arguments, a dict as keywords.
    Half precision is measured on a copy in single precision. `cells` names modules of your own that
    map (x_t, state) to the next state; PyTorch's and ours are found. The model, its gradients and the
    random numbers are left as they were.

    Raises DataError where nothing recurrent runs, for inputs of one step, and where the loss has no
    gradient by any state.

    >>> [t] = trajectories(nn.GRU(1, 2, batch_first=True), torch.zeros(3, 5, 1))
    >>> t.layer, t.operator, t.states[0].shape
    ('l0', 'gru_after', torch.Size([6, 3, 2]))
    """
    model, inputs, targets = _measurable(model, inputs, targets)
    leaves: list[Tensor]
    with untouched(model, seed) as parameters, torch.inference_mode(False), torch.enable_grad():
        arguments, named, real = _arguments(inputs)
        with recurrences(model, cells) as records:
            answer = model(*arguments, **named)
        runs = _runs(records)
        if not runs:
            raise DataError(
                "a model that runs an RNN, LSTM or GRU, of torch.nn or throughtime.nn, or a cell",
                f"none in {type(model).__name__}",
                "name a recurrent cell of your own in cells=(model.my_cell,)",
            )
        longest = max(runs, key=lambda run: len(run.x))
        if len(longest.x) < 2:
            raise DataError(
                "inputs of two time steps or more",
                "one",
                "pass a sequence: through one step nothing travels in time",
            )
        leaves = [*parameters, *real]
        if output is None:
            said = _output(answer)
            said, targets = _newest(said, targets, _time_axis(said, runs, longest, leaves))
        else:
            said = output(answer)
        value = _value(said, targets, loss)
        _differentiate(value.sum(), leaves)
        return _trajectories(runs)


def _measurable(model: nn.Module, inputs: Any, targets: Any) -> tuple[nn.Module, Any, Any]:
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


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any], list[Tensor]]:
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


def _output(answer: Any) -> Any:
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


def _newest(said: Tensor, targets: Any, axis: int | None) -> tuple[Tensor, Any]:
    """Return the newest step of the output and of the targets, where there is an axis of time."""
    if axis is None:
        return said, targets
    T = said.shape[axis]
    if isinstance(targets, Tensor) and targets.dim() > axis and targets.shape[axis] == T:
        targets = targets.select(axis, T - 1)
    return said.select(axis, T - 1), targets


def _value(said: Any, targets: Any, loss: Loss | None) -> Tensor:
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


def _differentiate(value: Tensor, leaves: Sequence[Tensor], keep: bool = False) -> None:
    if value.requires_grad:
        torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=keep)


def _time_axis(
    said: Tensor, runs: Sequence[_Run], longest: _Run, leaves: Sequence[Tensor]
) -> int | None:
    """Return the axis of time of an output: one as long as the run, whose first step reads less.

    A forecast of T steps is as long, but its first step reads the newest state as all others do.
    """
    T, B = longest.x.shape[:2]
    shape = tuple(said.shape[:2])
    if not said.requires_grad or shape not in ((B, T), (T, B)):
        return None
    axis = 1 if shape == (B, T) else 0
    _differentiate(said.select(axis, 0).sum(), leaves, keep=True)
    blind = [run for run in runs if not run.reverse and not run.reads_newest()]
    for run in runs:
        run.forget()
    return axis if blind else None


@dataclass(eq=False)
class _Run:
    """Calls of one layer and direction, or of one cell, each of which goes on from the one before.

    All in the order of the run: x [T, B, I], states [T+1, B, H], mask [T, B], and dropout and
    zoneouts [T, B, H] or None.
    """

    layer: str
    records: list[Recorded]
    x: Tensor
    states: States
    mask: Tensor
    extras: tuple[Tensor | None, ...]

    @property
    def reverse(self) -> bool:
        """Say whether it runs against the time of the series."""
        return self.records[0].direction == 1

    def goes_on_in(self, other: _Run) -> bool:
        """Say whether another begins where this one ends, or at least not where this one began."""
        if self.reverse or self.x.shape[1:] != other.x.shape[1:]:
            return False
        halves = list(zip(self.states, other.states, strict=True))
        at_end = all(torch.equal(a[-1], b[0]) for a, b in halves)
        return at_end or not all(torch.equal(a[0], b[0]) for a, b in halves)

    def joined(self, other: _Run) -> _Run:
        """Return both, one after the other in time."""
        states = zip(self.states, other.states, strict=True)
        extras = zip(self.extras, other.extras, strict=True)
        return _Run(
            self.layer,
            [*self.records, *other.records],
            torch.cat([self.x, other.x]),
            tuple(torch.cat([a, b[1:]]) for a, b in states),
            torch.cat([self.mask, other.mask]),
            tuple(a if a is None or b is None else torch.cat([a, b]) for a, b in extras),
        )

    def adjoints(self) -> States:
        """Return dL/ds in the shapes of the states; zero where the loss does not reach."""
        names = ("dh_0", "dh_TBH"), ("dc_0", "dc_TBH")
        found = []
        for (first, rest), states in zip(names, self.states, strict=False):
            pieces, start = [_or_zeros(getattr(self.records[0].tap, first), states[:1])], 1
            for record in self.records:
                like = states[start : start + record.inputs[0].shape[0]]
                piece = _or_zeros(getattr(record.tap, rest), like)
                pieces.append(piece.flip(0) if record.direction else piece)
                start += len(like)
            found.append(torch.cat(pieces))
        return tuple(found)

    def reads_newest(self) -> bool:
        """Say whether the gradient that was taken last reaches the newest state."""
        return any(bool(a[-1].any()) for a in self.adjoints())

    def forget(self) -> None:
        """Empty the taps."""
        for record in self.records:
            vars(record.tap).update(vars(type(record.tap)(record.tap.whole)))


def _or_zeros(found: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if found is None else found.reshape(like.shape)


def _runs(records: Sequence[Recorded]) -> list[_Run]:
    """Join the calls that go on from each other."""
    runs: list[_Run] = []
    for record in records:
        run = _run(record)
        last = next((each for each in reversed(runs) if each.layer == run.layer), None)
        if last is not None and last.goes_on_in(run):
            runs[runs.index(last)] = last.joined(run)
        else:
            runs.append(run)
    return runs


def _run(record: Recorded) -> _Run:
    call = follow(record)
    layer = "" if record.layer == CELL else f"l{record.layer}"
    name = ".".join(part for part in (record.name, layer) if part)
    name = f"{name} reverse" if record.direction else name
    return _Run(name, [record], call.x, call.states, call.mask, call.extras)


def _trajectories(runs: Sequence[_Run]) -> tuple[Trajectory, ...]:
    """Return what every layer, direction and cell ran through; runs of one length side by side."""
    made: dict[tuple[Any, ...], list[Trajectory]] = {}
    for run in runs:
        one = _trajectory(run)
        made.setdefault((one.layer, one.length, one.skipped), []).append(one)
    found = tuple(map(_side_by_side, made.values()))
    if not any(bool(each.norms.any()) for each in found):
        raise DataError(
            "a loss that depends on the states of the model's recurrences",
            "one that has no gradient by any of them",
            "let the loss read what the model makes of its newest state, and detach nothing before",
        )
    return found


def _trajectory(run: _Run) -> Trajectory:
    """Align the rows at the newest state that the loss reads."""
    mask, T = run.mask, len(run.mask)
    k = torch.arange(T + 1, device=mask.device).unsqueeze(1)
    first = (~mask).long().cumprod(0).sum(0)  # a reverse run begins behind the padding
    shifted = torch.cat([torch.zeros_like(mask[:1]), mask])
    real = (k == first) | ((k > first) & shifted)
    adjoints = run.adjoints()
    reached = real & (torch.cat(adjoints, -1) != 0).any(-1)
    last = (k * real).amax(0)
    newest = torch.where(reached.any(0), (k * reached).amax(0), last)
    length = max(1, int((newest - first).max()))
    source = newest + torch.arange(-length, 1, device=mask.device).unsqueeze(1)
    held = source.clamp(min=0)

    def aligned(series: Tensor, shift: int = 0) -> Tensor:
        index = (held if shift == 0 else (source[1:] - shift).clamp(min=0)).unsqueeze(-1)
        return series.gather(0, index.expand(*index.shape[:2], series.shape[-1]))

    S, record = run.records[0].kernel.states, run.records[0]
    weights = record.inputs[1 + S : len(record.inputs) - len(run.extras)]
    return Trajectory(
        run.layer,
        record.kernel.operator,
        aligned(run.x, 1),
        tuple(map(aligned, run.states)),
        tuple(map(aligned, adjoints)),
        source >= first,
        int((last - newest).min()),
        tuple(w if w is None else w.detach() for w in weights),
        tuple(e if e is None else aligned(e, 1) for e in run.extras),
        record.kernel,
    )


def _side_by_side(parts: Sequence[Trajectory]) -> Trajectory:
    """Return runs of one layer over different examples as one."""
    if len(parts) == 1:
        return parts[0]

    def joined(tensors: Sequence[Any]) -> Any:
        return None if tensors[0] is None else torch.cat(list(tensors), 1)

    def each(name: str) -> tuple[Any, ...]:
        columns = zip(*(getattr(part, name) for part in parts), strict=True)
        return tuple(map(joined, columns))

    return replace(
        parts[0],
        x=joined([part.x for part in parts]),
        states=each("states"),
        adjoints=each("adjoints"),
        extras=each("extras"),
        real=joined([part.real for part in parts]),
    )
