"""One net on one problem: what is said before training, and what comes of training.

One rule for all: AdamW, batches of 20 new sequences, at most 5000 updates (100,000 sequences), and a
learning rate by what bounds the state: gates 1e-2, tanh 2e-3, nothing (ReLU) 1e-4. An update that adds
epsilon to the spectral radius lets a state that nothing bounds grow by (1 + epsilon)^T, and Adam
moves every entry of a matrix H wide by the learning rate, so that epsilon is up to H times that.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from memory_tasks_nets import KINDS, Kind, Net
from memory_tasks_problems import PROBLEMS, Problem
from memory_tasks_verdict import look
from torch import Tensor

from throughtime._archive import Snapshot
from throughtime._errors import DivergedError
from throughtime.diagnostics import learnable
from throughtime.training import Clip, TrainingSettings
from throughtime.training.run import Run
from throughtime.training.sources import Lesson

BATCH = 20
HELD_OUT, LOOK_EVERY = 400, 100


@dataclass(frozen=True)
class Job:
    """One row of the table, in plain words for another process."""

    task: str
    T: int
    net: str
    seed: int
    updates: int

    @property
    def problem(self) -> Problem:
        return PROBLEMS[self.task](self.T)

    @property
    def kind(self) -> Kind:
        return next(kind for kind in KINDS if kind.title == self.net)


@dataclass
class Fresh:
    """A source of lessons that never come twice."""

    model: Net
    problem: Problem
    generator: torch.Generator
    held_out: tuple[Tensor, Tensor]
    kind: str = "fresh"
    has_validation: bool = True

    def lesson(self, index: int) -> Lesson:
        x, y = self.problem.draw(BATCH, self.generator)
        return Lesson(x, self.model(x), y)

    def validation(self) -> Lesson:
        x, y = self.held_out
        return Lesson(x, self.model(x), y)

    def snapshot(self) -> Snapshot:
        return Snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Nothing to go back to: these runs are not resumed."""


def row(job: Job) -> dict[str, Any]:
    """Ask, train, and return both as plain values."""
    torch.set_num_threads(1)
    # What has vanished is often below 1e-38, where processors are many times slower.
    torch.set_flush_denormal(True)
    problem, kind = job.problem, job.kind
    net = kind.build(problem, job.seed)
    start = time.perf_counter()
    before, memory = look(net, problem, seed=job.seed)
    verdict = learnable(before, problem.need, clipped=kind.clipped)
    asked = time.perf_counter() - start
    return {
        **asdict(job),
        "learning_rate": kind.learning_rate,
        "before": {**asdict(before), "memory": memory},
        "verdict": asdict(verdict),
        "asked_seconds": asked,
        **trained(net, job),
    }


def trained(net: Net, job: Job) -> dict[str, Any]:
    """Train until the task is solved, the net diverged, or the updates are used up."""
    problem, kind = job.problem, job.kind
    run = Run(net, problem.loss, settings(job), source(net, job), generator(job.seed))
    start, losses, outcome = time.perf_counter(), [], "not solved"
    try:
        while run.index < job.updates and outcome != "solved":
            run.update()
            if run.index % LOOK_EVERY == 0:
                losses.append(run.evaluate().loss / problem.baseline)
                if losses[-1] < problem.solved_below:
                    outcome = "solved"
    except DivergedError:
        outcome = "diverged"
    return {
        "outcome": outcome,
        "made": run.index,
        "sequences": run.index * BATCH,
        "seconds": time.perf_counter() - start,
        "clipped": kind.clipped,
        "losses": losses,
    }


def settings(job: Job) -> TrainingSettings:
    return TrainingSettings(
        max_updates=job.updates,
        learning_rate=job.kind.learning_rate,
        clip=Clip(norm=1.0) if job.kind.clipped else Clip(),
        seed=job.seed,
    )


def source(net: Net, job: Job) -> Fresh:
    held_out = job.problem.draw(HELD_OUT, generator(10_000 + job.seed))
    return Fresh(net, job.problem, generator(job.seed), held_out)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
