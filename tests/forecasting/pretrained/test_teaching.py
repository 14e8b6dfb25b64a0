"""The pretrained net learns from a panel: what it reads, that it learns, and what does not count."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime.forecasting import read_frame
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.pretrained.net import (
    LEAST,
    LONGEST,
    WEIGHTS,
    PretrainedNet,
    carried,
    forecast,
)
from throughtime.forecasting.pretrained.reading import read
from throughtime.forecasting.pretrained.teaching import LARGEST, SHORTEST, TEACHING, Lessons, teach
from throughtime.forecasting.series.panel import Panel

QUICK = replace(TEACHING, batch_size=16, max_updates=40, learning_rate=5e-3)
SCALES = [TRANSFORMS["identity"], TRANSFORMS["sqrt"]]


def table(*series: list[float]) -> Panel:
    ids = np.repeat([f"s{i}" for i in range(len(series))], [len(y) for y in series])
    ds = np.concatenate([np.arange(len(y)) for y in series])
    return read_frame(pa.table({"unique_id": ids, "ds": ds, "y": np.concatenate(series)}))


def numbered(*lengths: int) -> Panel:
    """Series of numbers that tell where each comes from: 1000 i + t."""
    return table(*([1000.0 * i + t for t in range(n)] for i, n in enumerate(lengths, 1)))


@given(st.lists(st.integers(2, 260), min_size=1, max_size=4), st.integers(1, 30), st.integers(1, 9))
def test_windows_come_from_anywhere_in_the_series(lengths: list[int], h: int, m: int) -> None:
    lessons = Lessons(PretrainedNet(4), numbered(*lengths), SCALES[:1], h, m, QUICK)
    longest, room = lessons.longest, [n - h for n in lengths if n - h >= LEAST]
    assert longest <= min(LONGEST, max(room, default=0))
    assert longest >= min(LONGEST, min(room, default=0))
    if not room:
        return
    g = np.random.default_rng(0)
    for _ in range(5):
        u = lessons._drawn(g, SCALES[0])
        T = u.shape[1] - h
        assert min(max(SHORTEST, 2 * m), longest) <= T <= longest
        assert (np.diff(u, axis=1) == 1).all()  # neighbours
        series, first = np.divmod(u[:, 0], 1000)
        assert all(t + T + h <= lengths[int(i) - 1] for i, t in zip(series, first, strict=True))


def test_every_series_and_every_length_is_read() -> None:
    lessons = Lessons(PretrainedNet(4), numbered(40, 90, 300), SCALES[:1], 6, 1, QUICK)
    drawn = [lessons._drawn(np.random.default_rng(k), SCALES[0]) for k in range(60)]
    lengths = {u.shape[1] - 6 for u in drawn}
    assert min(lengths) < 12
    assert max(lengths) > 150
    assert {int(i) for u in drawn for i in u[:, 0] // 1000} == {1, 2, 3}
    ends = [u[:, -1] % 1000 for u in drawn]
    assert max(map(np.max, ends)) == 299


def test_a_lesson_is_the_reading_and_the_answer_in_its_units() -> None:
    panel, net = numbered(50, 80), carried(WEIGHTS[-1])
    lessons = Lessons(net, panel, SCALES, 5, 2, QUICK)
    for k in (0, 1, 2):
        f = SCALES[k % 2]
        u = torch.from_numpy(lessons._drawn(np.random.default_rng((QUICK.seed, k)), f))
        made = read(u[:, :-5], 5, 2)
        lesson = lessons.lesson(k)
        torch.testing.assert_close(lesson.outputs[..., 0], net(made.past, made.ahead))
        wanted = ((u[:, -5:] - made.base) / made.unit).clamp(-LARGEST, LARGEST).float()
        torch.testing.assert_close(lesson.targets, wanted)
        again = lessons.lesson(k)  # of the seed and k alone, as a run that is resumed has to
        assert torch.equal(again.targets, lesson.targets)


def test_what_does_not_vary_or_begins_with_a_gap_does_not_count() -> None:
    y = np.arange(60.0)
    gaps = np.where(np.arange(60) % 2 == 0, y, np.nan)
    lessons = Lessons(PretrainedNet(4), table([7.0] * 60, y.tolist(), gaps.tolist()), SCALES[:1], 4, 1, QUICK)  # fmt: skip
    counted = 0
    for k in range(9):
        lesson = lessons.lesson(k)
        assert lesson.outputs.isfinite().all()
        u = lessons._drawn(np.random.default_rng((QUICK.seed, k)), SCALES[0])
        constant, gap = (u[:, :-4] == 7).all(axis=1), np.isnan(u[:, 0])
        lost = torch.from_numpy(constant | gap)
        assert lesson.targets[lost].isnan().all()
        assert (
            lesson.targets[~lost][:, ::2].isnan().sum() == np.isnan(u[~lost.numpy(), -4::2]).sum()
        )
        counted += int((constant | gap).sum())
    assert counted > 20


def test_the_longest_tenth_does_not_say_how_much_is_read() -> None:
    lessons = Lessons(PretrainedNet(4), numbered(*[30] * 19, 200), SCALES[:1], 6, 1, QUICK)
    assert lessons.longest == 24
    assert Lessons(PretrainedNet(4), numbered(150, 250), SCALES[:1], 6, 1, QUICK).longest == LONGEST


def test_a_leap_counts_as_no_more_than_so_many_units() -> None:
    y = np.r_[np.sin(np.arange(30.0)), 1e6 + np.sin(np.arange(30.0))]
    lessons = Lessons(PretrainedNet(4), table(y.tolist()), SCALES[:1], 4, 1, QUICK)
    most = [lessons.lesson(k).targets.nan_to_num().abs().max().item() for k in range(20)]
    assert max(most) == LARGEST


def zigzag(S: int, n: int, seed: int) -> list[list[float]]:
    """Series that go up by 3 and down by 1, with noise: the simulated ones know no such season."""
    g = np.random.default_rng(seed)
    steps = np.where(np.arange(n) % 5 < 2, 3.0, -1.0) + g.normal(0, 0.1, (S, n))
    return (100 + steps.cumsum(axis=1)).tolist()


def test_it_learns_what_the_panel_tells_and_repeats_itself() -> None:
    known, others = table(*zigzag(40, 60, 0)), np.array(zigzag(50, 46, 1))
    net = deepcopy(carried(WEIGHTS[-1]))
    settings = replace(QUICK, max_updates=100, learning_rate=1e-2)
    history = teach(Lessons(net, known, SCALES[:1], 6, 1, settings))
    assert len(history.updates) == 100
    assert not any(p.requires_grad for p in net.parameters())
    again = deepcopy(carried(WEIGHTS[-1]))
    teach(Lessons(again, known, SCALES[:1], 6, 1, settings))
    u, y = others[:, :40], others[:, 40:]
    before, after = (np.abs(forecast(u, 6, 1, n) - y).mean() for n in (None, net))
    assert after < 0.7 * before
    np.testing.assert_array_equal(forecast(u, 6, 1, net), forecast(u, 6, 1, again))


@pytest.mark.parametrize("n", [2, 8, 9])
def test_series_that_are_too_short_teach_nothing(n: int) -> None:
    net = deepcopy(carried(WEIGHTS[-1]))
    history = teach(Lessons(net, numbered(n, n), SCALES, 6, 1, QUICK))
    assert not history.updates
    assert all(
        torch.equal(p, q)
        for p, q in zip(net.parameters(), carried(WEIGHTS[-1]).parameters(), strict=True)
    )
