"""A forecaster of the right shape, quick and without torch: autoregression under the model's name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from throughtime.forecasting.series.frame import read_frame
from throughtime.training.observer import Evaluation, History, Update

SUNSPOTS = [
    *(5, 11, 16, 23, 36, 58, 29, 20, 10, 8, 3, 0, 0, 2, 11, 27, 47, 63, 60, 39, 28, 26, 22, 11, 21),
    *(40, 78, 122, 103, 73, 47, 35, 11, 5, 16, 34, 70, 81, 111, 101, 73, 40, 20, 16, 5, 11, 22, 40),
    *(60, 80.9, 83.4, 47.7, 47.8, 30.7, 12.2, 9.6, 10.2, 32.4, 47.6, 54, 62.9, 85.9, 61.2, 45.1),
    *(36.4, 20.9, 11.4, 37.8, 69.8, 106.1, 100.8, 81.6, 66.5, 34.8, 30.6, 7, 19.8, 92.5, 154.4),
    *(125.9, 84.8, 68.1, 38.5, 22.8, 10.2, 24.1, 82.9, 132, 130.9, 118.1, 89.9, 66.6, 60, 46.9),
    *(41, 21.3, 16, 6.4, 4.1, 6.8, 14.5, 34, 45, 43.1, 47.5, 42.2, 28.1, 10.1, 8.1, 2.5, 0, 1.4, 5),
    *(12.2, 13.9, 35.4, 45.8, 41.1, 30.1, 23.9, 15.6, 6.6, 4, 1.8, 8.5, 16.6, 36.3, 49.6, 64.2, 67),
    *(70.9, 47.8, 27.5, 8.5, 13.2, 56.9, 121.5, 138.3, 103.2, 85.7, 64.6, 36.7, 24.2, 10.7, 15),
]


@dataclass(frozen=True)
class Score:
    model: str
    mae: float
    mase: float
    smape: float
    coverage: dict[int, float]


class Diagnosis:
    """What the doctor would say of the stand-in: two layers, and the log of its own training."""

    def __init__(self, forecaster, step):
        from diagnosis_case import diagnosis  # beside the tests of all floors

        updates = forecaster.history.updates
        self._dict = diagnosis() | {"step": step}
        self._dict["log"] |= {
            "updates": [update.index for update in updates],
            "norms": [update.grad_norm for update in updates],
            "fired": [update.clipped for update in updates],
            "thresholds": [update.threshold for update in updates],
        }

    def to_dict(self):
        return self._dict

    @property
    def findings(self):
        found = self._dict["findings"]
        return [
            SimpleNamespace(**{**each, "cures": [cure["argument"] for cure in each["cures"]]})
            for each in found
        ]

    def __str__(self):
        return "\n".join(finding["sentence"] for finding in self._dict["findings"])


def _forecast(model, y, h, season):
    if model == "Naive":
        return np.full(h, y[-1])
    if model == "SeasonalNaive":
        return np.resize(y[-season:], h)
    order = min(9 if model == "LinearAR" else 18, len(y) // 2)
    lags = np.lib.stride_tricks.sliding_window_view(y, order + 1)
    design = np.c_[np.ones(len(lags)), lags[:, :-1]]
    weights = np.linalg.lstsq(design.T @ design + np.eye(order + 1), design.T @ lags[:, -1])[0]
    path = list(y)
    for _ in range(h):
        path.append(float(weights @ np.r_[1.0, path[-order:]]))
    return np.array(path[-h:])


def _bands(point, level, scale):
    for wanted in level:
        width = {80: 1.28, 95: 1.96}.get(wanted, 1.0) * scale * np.sqrt(1 + np.arange(len(point)))
        yield wanted, point - width, point + width


class StandIn:
    name = "LSTM"

    def __init__(
        self,
        h,
        cell="lstm",
        context_length=None,
        season_length=None,
        freq=None,
        n_windows=8,
        seed=0,
        level=(80, 95),
        **given,
    ):
        self.given = given  # columns and how to answer, of which it makes nothing
        self.h, self.name, self.seed = h, cell.upper(), seed
        self.context_length, self.season_length = context_length or 33, season_length or 11
        self.freq, self.level = freq, level
        self.n_windows = 8 if n_windows is None else n_windows
        training = {"max_updates": 300, "clip": {"norm": 1.0, "value": None}, "seed": seed}
        self.scaling_words = "identity; moments of window and series, half each; from the level"
        self.beside_words = "linear autoregression"
        self.choice = None
        self.settings = {"cell": cell, "training": training, "hidden_size": 32, "members": 5}
        self.settings |= {"architecture": "direct", "output": "point", "calendar": ()}
        self.settings |= {"transforms": ("identity",)}

    def fit(self, table, level=(80, 95), observers=()):
        self.level = level
        self.panel = read_frame(table, self.freq)
        if self.n_windows:
            self.backtest = self._backtest(table, observers)
        rng = np.random.default_rng(self.seed)
        self.pilot = self._train("pilot", [*observers, History()], rng)
        self.history = self._train("final fit", [*observers, History()], rng, looks=False)
        lags = np.arange(0, 67)
        norms = 0.93**lags * (1 + 0.3 * np.cos(2 * np.pi * lags / 11)) / 1.3
        self.reach = SimpleNamespace(
            lags=lags,
            norms=norms / norms[0],
            half_life=9.6,
            memory=int(np.argmax(norms < 0.01 * norms[0])),
        )
        return self

    def _train(self, name, observers, rng, total=300, looks=True):
        for observer in observers:
            observer.on_start(name, total)
        best = np.inf
        for k in range(total):
            noise = float(rng.lognormal(0, 0.35))
            grad = float(2.2 * np.exp(-k / 90) * noise * (6 if k % 53 == 7 else 1) + 0.05)
            update = Update(
                k,
                total,
                float((0.9 * np.exp(-k / 60) + 0.12) * rng.lognormal(0, 0.15)),
                grad,
                1.0,
                grad > 1.0,
                1e-3,
            )
            for observer in observers:
                observer.on_update(update)
            if looks and k % 10 == 9:
                loss = float(
                    0.8 * np.exp(-k / 60)
                    + 0.16
                    + 2e-6 * max(k - 180, 0) ** 2
                    + 0.005 * rng.normal()
                )
                evaluation = Evaluation(k + 1, loss, loss < best)
                best = min(best, loss)
                for observer in observers:
                    observer.on_evaluation(evaluation)
        for observer in observers:
            observer.on_end("all updates done")
        return observers[-1]

    def cross_validation(self, table, n_windows=8, level=(80, 95), observers=()):
        self.n_windows, self.level = n_windows, level
        self.backtest = self._backtest(table, observers)

    def _backtest(self, table, observers):
        self.panel, h = read_frame(table, self.freq), self.h
        models, level = [self.name, "Naive", "SeasonalNaive", "LinearAR"], self.level
        rows, errors = {}, {m: [] for m in models}

        def add(key, values):
            rows.setdefault(key, []).extend(values)

        rng, inside = np.random.default_rng(1), {m: {lv: [] for lv in level} for m in models}
        for w in range(self.n_windows):
            self._train(f"back-test {w + 1}/{self.n_windows}", [*observers, History()], rng, 40)
            for i, name in enumerate(self.panel.ids):
                ds = self.panel.ds(i)
                cut = len(ds) - h * (self.n_windows - w)
                add("unique_id", [name] * h)
                add("ds", ds[cut : cut + h])
                add("cutoff", [ds[cut - 1]] * h)
                for target, own, y in self._rows(i):
                    actual = y[cut : cut + h]
                    add(target, actual)
                    for m in models:
                        point = _forecast(m, y[:cut], h, self.season_length)
                        errors[m].append(np.abs(point - actual))
                        add(own + m, point)
                        for lv, lo, hi in _bands(point, level, 14):
                            add(f"{own}{m}-lo-{lv}", lo)
                            add(f"{own}{m}-hi-{lv}", hi)
                            inside[m][lv].append(np.mean((actual >= lo) & (actual <= hi)))
        maes = {m: float(np.mean(errors[m])) for m in models}
        scores = tuple(
            Score(
                m,
                maes[m],
                maes[m] / 30,
                maes[m] * 1.7,
                {lv: float(np.mean(v)) for lv, v in inside[m].items()},
            )
            for m in models
        )
        return SimpleNamespace(
            panel=self.panel,
            table=replace(self.panel, backend="pyarrow").like(rows),
            models=models,
            scores=scores,
            h=h,
            n_windows=self.n_windows,
            step_size=h,
            season_length=self.season_length,
        )

    def predict(self, level=(80, 95)):
        names, ds = self.panel.future(self.h)
        rows = {"unique_id": names, "ds": ds}
        for i in range(len(self.panel.ids)):
            for _, own, y in self._rows(i):
                point = _forecast(self.name, y, self.h, self.season_length)
                rows.setdefault(own + self.name, []).extend(point)
                for lv, lo, hi in _bands(point, level, 14):
                    rows.setdefault(f"{own}{self.name}-lo-{lv}", []).extend(lo)
                    rows.setdefault(f"{own}{self.name}-hi-{lv}", []).extend(hi)
        return self.panel.like(rows)

    def _rows(self, i):
        """Return each target of series i: its name, what its columns begin with, its values."""
        targets = self.panel.targets
        for m, target in enumerate(targets):
            own = f"{target}-" if len(targets) > 1 else ""
            yield target, own, np.nan_to_num(self.panel.row(i * len(targets) + m))

    def diagnose(self, data=None, *, step="step"):
        return Diagnosis(self, step)

    def save(self, path):
        with open(path, "wb") as file:
            file.write(b"weights")


def sunspots(ids=("sunspots",)):
    n = len(SUNSPOTS)
    return pa.table(
        {
            "unique_id": [name for name in ids for _ in range(n)],
            "ds": list(range(1700, 1700 + n)) * len(ids),
            "y": SUNSPOTS * len(ids),
        }
    )
