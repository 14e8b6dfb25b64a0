"""SegRNN: its forward pass as a plain loop, ensembles one by one, and what depends on what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from forecasting_cases import TRAINING, panel, quick
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import throughtime as tt
from throughtime.forecasting.architectures.reversible import Reversible
from throughtime.forecasting.architectures.segment import MOST_SERIES, Segment
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.series.channels import Sizes
from throughtime.nn import Ensemble, Recurrence
from throughtime.nn.heads import PointHead, QuantileHead, ValueHead
from throughtime.training import TrainingSettings

B, D = 3, 6


def point(hidden_size: int, outputs: int) -> ValueHead:
    return PointHead(hidden_size, outputs)


def made(
    sizes: Sizes, w: int, n: int, h: int, cell: Any = "gru", head: Any = point, K: int = 1
) -> Segment:
    net = Segment(sizes, Recurrence(cell, D), head, h, w, skips=(n * w, K))
    assert net.skip is not None
    nn.init.normal_(net.skip.weight)
    return net.eval()


def inputs(sizes: Sizes, L: int, h: int) -> tuple[Tensor, ...]:
    """x, what is known ahead, static numbers, and codes with the number of the series."""
    codes = [torch.randint(0, k + 1, (B, 1)) for k in (*sizes.categories, sizes.series)]
    x, ahead = torch.randn(B, L, sizes.step), torch.randn(B, h, sizes.futr)
    return x, ahead, torch.randn(B, sizes.numbers), torch.cat(codes, dim=1)


@settings(max_examples=40, deadline=None)
@given(
    w=st.integers(1, 4),
    n=st.integers(1, 4),
    h=st.integers(1, 9),
    M=st.integers(1, 2),
    futr=st.integers(0, 2),
    series=st.sampled_from([0, 2, 5]),
    static=st.booleans(),
    K=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_the_forward_pass_is_a_plain_loop_over_one_gru(
    w: int, n: int, h: int, M: int, futr: int, series: int, static: bool, K: int, seed: int
) -> None:
    torch.manual_seed(seed)
    sizes = Sizes(M, futr == 1, 0, futr, int(static), (3,) if static else (), series)
    net = made(sizes, w, n, h, K=K)
    x, ahead, numbers, codes = inputs(sizes, n * w, h)
    gru = nn.GRU(D, D, batch_first=True)
    gru.load_state_dict(net.layer.state_dict())
    y = torch.full((B, M, h), torch.nan)
    with torch.no_grad():
        said = net(x, ahead, numbers, codes)
        for b in range(B):
            s = torch.zeros(1, 1, D)
            for i in range(n):
                x_i = x[b, i * w : (i + 1) * w].flatten()
                if static:
                    x_i = torch.cat([x_i, numbers[b], net.embeddings[0].weight[codes[b, 0]]])
                e = (net.W.weight @ x_i + net.W.bias).clamp(min=0)
                _, s = gru(e[None, None], s)
            assert net.skip is not None
            g = torch.ones(1) if net.skip.gate is None else net.skip.gate(s.flatten()).softmax(0)
            A = (g[:, None, None] * net.skip.weight.reshape(K, h, -1)).sum(dim=0)
            for k in range(h):
                j = k // w
                q = net.p[j]
                if net.c is not None:
                    number = int(codes[b, -1])
                    c = net.c[number - 1] if number else torch.zeros(D // 2)
                    q = torch.cat([q, c])
                if net.V is not None:
                    a = torch.zeros(w, futr)
                    a[: min(w, h - j * w)] = ahead[b, j * w : (j + 1) * w]
                    q = q + net.V.weight @ a.flatten()
                _, u = gru(q[None, None], s)
                out = net.head.linear(u.flatten()).reshape(M, w)
                y[b, :, k] = out[:, k % w] + x[b, :, :M].T @ A[k]
    torch.testing.assert_close(said[..., 0], y.flatten(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mingru", "minlstm"])
def test_an_ensemble_is_its_members_one_by_one(cell: Any) -> None:
    torch.manual_seed(0)
    sizes, E = Sizes(2, True, 1, 2, 1, (3,), 4), 3
    net = Ensemble(lambda: made(sizes, 3, 4, 7, cell, QuantileHead, K=2), E)
    each = [inputs(sizes, 12, 7) for _ in range(E)]
    said = net(*(torch.stack(part) for part in zip(*each, strict=True)))
    said.square().sum().backward()
    for e in range(E):
        member = net.member(e)
        alone = member(*each[e])
        torch.testing.assert_close(said[e], alone)
        alone.square().sum().backward()
        for name, weight in member.named_parameters():
            grad = net.stacked.get_parameter(name).grad
            assert grad is not None
            torch.testing.assert_close(grad[e], weight.grad, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(w=st.integers(1, 4), h=st.integers(1, 9), data=st.data())
def test_what_is_known_of_a_segment_is_said_of_that_alone(
    w: int, h: int, data: st.DataObject
) -> None:
    torch.manual_seed(1)
    net, k = made(sizes := Sizes(1, futr=1), w, 3, h), data.draw(st.integers(0, h - 1))
    x, ahead, *static = inputs(sizes, 3 * w, h)
    other = ahead.clone()
    other[:, k] += 1
    with torch.no_grad():
        moved = (net(x, other, *static) != net(x, ahead, *static)).any(dim=0)[:, 0]
    segment = torch.arange(h) // w
    assert moved.equal(segment == k // w)


def test_revin_is_read_before_segments_are_cut_and_undone_after() -> None:
    torch.manual_seed(2)
    sizes = Sizes(2, True)
    net, x = made(sizes, 3, 4, 7), inputs(sizes, 12, 7)[0]
    net.skip, affine = None, Reversible(2, Base("level"))
    nn.init.normal_(affine.log_gamma)
    nn.init.normal_(affine.beta)
    with torch.no_grad():
        wanted = affine.undo(net.head, net(affine.read(x)))
        net.reversible = affine
        torch.testing.assert_close(net(x), wanted)


def test_dropout_is_behind_the_last_layer_and_in_training_alone() -> None:
    net = Segment(sizes := Sizes(), Recurrence("gru", D), point, 4, 2, dropout=0.5)
    x = inputs(sizes, 8, 4)[0]
    assert not net(x).equal(net(x))
    net.eval()
    assert net(x).equal(net(x))


@pytest.mark.parametrize(("S", "told"), [(1, 0), (2, 2), (MOST_SERIES, 64), (MOST_SERIES + 1, 0)])
def test_series_are_told_apart_where_there_are_some_and_few(S: int, told: int) -> None:
    design = design_of("segment")
    assert design.channels(panel(*[[0.0, 1.0]] * S)).sizes.series == told
    assert design_of("direct").channels(panel(*[[0.0, 1.0]] * S)).sizes.series == 0


def design_of(architecture: str) -> Any:
    made = quick(architecture=architecture, n_windows=0, training=TRAINING, context_length=8)
    return made.fit(np.sin(np.arange(64) * np.pi / 4)).design


def table(names: str, n: int = 64, **columns: Any) -> pa.Table:
    """Series that look alike up to now; from here on "b" goes its own way."""
    ds, y = np.arange(n), np.sin(np.arange(n) * np.pi / 4)
    parts = [{"unique_id": [i] * n, "ds": ds, "y": -y if i == "b" else y} for i in names]
    return pa.concat_tables([pa.table({**part, **columns}) for part in parts])


def said(made: pa.Table, name: str, column: str = "LSTM") -> list[float]:
    rows = zip(made["unique_id"].to_pylist(), made[column].to_pylist(), strict=True)
    return [value for i, value in rows if i == name]


def segments(h: int = 5, **given: Any) -> tt.Forecaster:
    usual = {"architecture": "segment", "members": 2, "n_windows": 0, "transform": "identity"}
    return quick(h, **{**usual, **given})


def test_a_series_is_known_by_its_name_wherever_it_stands() -> None:
    """The same values under another name are another channel; one that is new is none."""
    forecaster = segments().fit(table("ab"))
    y = table("a")
    alike = pa.concat_tables(
        [y, *(table("a").set_column(0, "unique_id", [[i] * 64]) for i in "zb")]
    )
    made = forecaster.predict(alike, level=[])
    assert said(made, "a") != said(made, "b")
    assert said(made, "z") not in (said(made, "a"), said(made, "b"))
    turned = pa.concat_tables([alike.slice(128), alike.slice(0, 128)])
    again = forecaster.predict(turned, level=[])
    for name in "abz":
        assert said(again, name) == pytest.approx(said(made, name), rel=1e-5)
    plain = quick(5, members=2, n_windows=0, transform="identity", companions=False)
    plain.fit(table("ab"))
    made = plain.predict(alike, level=[])
    assert said(made, "a") == said(made, "b")


def numbers(made: pa.Table) -> np.ndarray:
    return np.array([made[name].to_pylist() for name in made.column_names[2:]])


HOW: dict[str, dict[str, Any]] = {
    "points": {},
    "a linear skip": {"linear_skip": True, "segment": 4, "context_length": 16},
    "quantiles": {"output": "quantiles", "segment": 2, "context_length": 8, "calendar": False},
    "a distribution": {"output": "student-t", "cell": "gru", "dropout": 0.3},
    "known ahead": {"futr": "ad"},
    "several targets": {"target": ["y", "z"], "num_layers": 2, "dropout": 0.2},
    "one step at a time": {"segment": 1, "context_length": 5, "dilations": (1, 2)},
    "revin": {"scaling": "revin", "linear_skip": True, "cell": "mingru"},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_it_forecasts_is_saved_and_goes_on(how: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=64) for name in ("ad", "z")}
    whole, more = table("ab", **columns), {}
    if "futr" in how:
        ahead = {"unique_id": [*"aaaaabbbbb"], "ds": [*range(64, 69)] * 2, "ad": [0.5] * 10}
        more["futr_df"] = pa.table(ahead)
    wanted = ["unique_id", "ds", "y", *({"ad"} if "futr" in how else ()), *how.get("target", [])]
    read = whole.select(list(dict.fromkeys(wanted)))
    early = read.filter(pa.compute.less(read["ds"], 60))
    late = read.filter(pa.compute.greater_equal(read["ds"], 60))
    forecaster = segments(**{"hidden_size": 5, "n_windows": 2, **how}).fit(early)
    forecaster.save(tmp_path / "model")
    loaded = tt.load(tmp_path / "model")
    for each in (forecaster, loaded):
        each.update(late)
    made = numbers(forecaster.predict(**more))
    assert np.isfinite(made).all()
    np.testing.assert_allclose(numbers(loaded.predict(**more)), made, rtol=1e-6)
    level = [80, 95] if "output" in how else []  # sizes of errors are of what was fitted
    read_anew, went_on = (numbers(forecaster.predict(d, level=level, **more)) for d in (read, None))
    np.testing.assert_allclose(read_anew, went_on, rtol=1e-4, atol=1e-5)
    assert forecaster.predict(**more)["ds"].to_pylist() == [*range(64, 69)] * 2
    forecaster.update(late.set_column(1, "ds", [np.array([*range(64, 68)] * 2)]), learn=True)
    assert np.isfinite(forecaster.losses).all()


def test_a_season_is_learned_better_than_it_is_repeated() -> None:
    """Two noisy seasons of unlike length, 8 and 6: nets alone err less than what is naive."""
    rng, t = np.random.default_rng(0), np.arange(300)
    y = [np.sin(t * np.pi / p) + 0.3 * rng.normal(size=300) for p in (4, 3)]
    names = {"unique_id": ["a"] * 300 + ["b"] * 300, "ds": [*t, *t], "y": np.concatenate(y)}
    training = TrainingSettings(max_updates=150, batch_size=32, learning_rate=0.01)
    forecaster = segments(
        8, hidden_size=16, context_length=24, training=training, n_windows=4, companions=False
    )
    forecaster.fit(pa.table(names))
    score = {each.model: each.mae for each in forecaster.backtest.scores}
    assert score["LSTM"] < 0.8 * min(score["Naive"], score["SeasonalNaive"])


def test_the_doctor_takes_it() -> None:
    forecaster = segments(3, cure="auto", training=TRAINING).fit(table("a"))
    assert forecaster.reach.layer
    assert forecaster.predict(level=[]).num_rows == 3


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"bidirectional": True}, "bidirectional for architecture='direct'"),
        ({"scaling": "running"}, "scaling='running' for"),
        ({"dropout": 1.0}, "dropout to be .* below 1"),
        ({"preprogram": "seasonal"}, "preprogram for architecture='direct'"),
        ({"segment": 3, "context_length": 8}, "whole segments"),
    ],
)
def test_what_does_not_go_together_is_refused(how: dict[str, Any], said: str) -> None:
    with pytest.raises(tt.SettingError, match=said):
        segments(**how).fit(table("a"))


def test_a_segment_is_chosen_where_it_is_left_open() -> None:
    forecaster = segments(5, season_length=8, context_length=32).fit(table("a"))
    assert forecaster.settings["segment"] == 4
    assert quick(5, season_length=8, context_length=32).fit(table("a")).settings["segment"] == 1
