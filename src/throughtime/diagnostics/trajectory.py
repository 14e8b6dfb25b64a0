"""What a recurrence ran through: the states of every example, and the gradient of one loss by each.

    s_t = f(x_t, s_{t-1})            the state: h_t, or the pair (h_t, c_t)
    a_t = dL/ds_t                    the adjoint, for a loss L that reads one step

Everything the doctor measures is a function of these. One trajectory is one direction of one layer, or
one cell that was called in a loop, in the order in which it ran: for a reverse direction that is
backwards. Rows are aligned at their newest end, the newest step that the loss reads in each row, since
lags count from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from throughtime._errors import DataError
from throughtime.diagnostics.interception import recurrences
from throughtime.diagnostics.one_step_loss import (
    Loss,
    arguments,
    loss_of,
    measurable,
    newest,
    output_of,
)
from throughtime.diagnostics.runs import Run, States, runs_of
from throughtime.diagnostics.untouched import untouched


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The states that one recurrence ran through, with the adjoints of one loss.

    layer     its name: module, layer and direction
    operator  what it computes: "rnn_tanh", "rnn_relu", "lstm", "gru_after", "gru_before",
              "layer_norm_lstm", "min_gru", "min_lstm", these two also with "_positive" behind;
              "foreign" for a cell of somebody else's
    x         inputs [T, B, I], in the order in which they were read
    states    h [T+1, B, H], or (h, c), from the initial state to the newest that the loss reads
    adjoints  dL/dh, or dL/dh and dL/dc with h held, in the shapes of the states
    real      [T+1, B], False where a row, being shorter, has no such state
    skipped   how many steps of the run lie behind the newest that the loss reads in any row
    weights   W, U, b_ih, b_hh and what else the kernel takes; None where there is none
    dilation  d: a step here is d steps of the series, whose phases are rows (`nn/dilated.py`)

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
    dilation: int = 1

    @property
    def length(self) -> int:
        """T: how many steps there are from the initial state to the newest, each of `dilation`."""
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
    model, inputs, targets = measurable(model, inputs, targets)
    leaves: list[Tensor]
    with untouched(model, seed) as parameters, torch.inference_mode(False), torch.enable_grad():
        given, named, real = arguments(inputs)
        with recurrences(model, cells) as records:
            answer = model(*given, **named)
        runs = runs_of(records)
        if not runs:
            raise DataError(
                "a model that runs an RNN, LSTM or GRU, of torch.nn or throughtime.nn, or a cell",
                f"none in {type(model).__name__}",
                "name a recurrent cell of your own in cells=(model.my_cell,)",
            )
        longest = max(runs, key=lambda run: run.series[0])
        if max(len(run.x) for run in runs) < 2:
            raise DataError(
                "inputs of two time steps or more",
                "one",
                "pass a sequence: through one step nothing travels in time",
            )
        leaves = [*parameters, *real]
        if output is None:
            said = output_of(answer)
            said, targets = newest(said, targets, _time_axis(said, runs, longest, leaves))
        else:
            said = output(answer)
        value = loss_of(said, targets, loss)
        _differentiate(value.sum(), leaves)
        return _trajectories(runs)


def _differentiate(value: Tensor, leaves: Sequence[Tensor], keep: bool = False) -> None:
    if value.requires_grad:
        torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=keep)


def _time_axis(
    said: Tensor, runs: Sequence[Run], longest: Run, leaves: Sequence[Tensor]
) -> int | None:
    """Return the axis of time of an output: one as long as the run, whose first step reads less.

    A forecast of T steps is as long, but its first step reads the newest state as all others do.
    """
    T, B = longest.series
    shape = tuple(said.shape[:2])
    if not said.requires_grad or shape not in ((B, T), (T, B)):
        return None
    axis = 1 if shape == (B, T) else 0
    _differentiate(said.select(axis, 0).sum(), leaves, keep=True)
    blind = [run for run in runs if not run.reverse and not run.reads_newest()]
    for run in runs:
        run.forget()
    return axis if blind else None


def _trajectories(runs: Sequence[Run]) -> tuple[Trajectory, ...]:
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


def _trajectory(run: Run) -> Trajectory:
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
        record.dilation,
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
