"""Make the files that every later version must read: `python tests/forecasting/saved/make.py [KIND ...]`.

A forecaster of each kind goes to `saved/<version of the format>/<kind>.safetensors`, beside it
`<kind>.json` with the covariates known ahead, the forecasts that the file must give, and what they
were made on. Folders of earlier versions are left as they are, and other kinds where some are named.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

import throughtime as tt
from throughtime.forecasting.fitting.resuming import conditions
from throughtime.forecasting.saving import FORMAT
from throughtime.training import TrainingSettings

HERE = Path(__file__).parent
H, N = 2, 36
TRAINING = TrainingSettings(max_updates=6, batch_size=16, learning_rate=0.02, evaluate_every=2)


def wave(seed: int, n: int = N) -> np.ndarray:
    """A cycle of 6 with noise, above 0."""
    noise = np.random.default_rng(seed).normal(size=n)
    return np.round(5 + 2 * np.sin(np.arange(n) * np.pi / 3) + 0.3 * noise, 3)


def months(n: int = N, first: int = 0) -> list[Any]:
    return (np.datetime64("2020-01") + np.arange(first, first + n)).astype("datetime64[D]").tolist()


def plain() -> tuple[Any, Any, Any]:
    return {}, pa.table({"ds": range(N), "y": wave(0)}), None


def covariates() -> tuple[Any, Any, Any]:
    """Two series with gaps; past, future and static covariates; the calendar."""
    tables, futures = [], []
    for s, name in enumerate("ab"):
        y = wave(s)
        y[[7, 20]] = np.nan
        columns = {"unique_id": [name] * N, "ds": months(), "y": y, "price": wave(5 + s)}
        tables.append(pa.table({**columns, "ad": wave(8 + s)}))
        ahead = {"unique_id": [name] * H, "ds": months(H, N), "ad": [4.0, 6.0]}
        futures.append(pa.table(ahead))
    static = pa.table({"unique_id": ["a", "b"], "area": [1.5, 3.0], "kind": ["shop", "kiosk"]})
    settings = {"hist": "price", "futr": "ad", "calendar": True, "cell": "gru"}
    return (
        settings,
        pa.concat_tables(tables),
        {"static_df": static, "futr_df": pa.concat_tables(futures)},
    )


def distribution() -> tuple[Any, Any, Any]:
    settings = {
        "architecture": "seq2seq",
        "output": "student-t",
        "num_layers": 2,
        "dilations": (1, 2),
    }
    return settings, pa.table({"ds": months(), "y": wave(1)}), None


def paths() -> tuple[Any, Any, Any]:
    return (
        {"architecture": "recursive", "cell": "rnn"},
        pa.table({"ds": months(), "y": wave(2)}),
        None,
    )


def targets() -> tuple[Any, Any, Any]:
    table = pa.table({"ds": months(), "load": wave(3), "wind": wave(4)})
    return {"target": ("load", "wind"), "freq": "MS"}, table, None


def committee() -> tuple[Any, Any, Any]:
    """Four groups of two nets, weighed by their errors."""
    members = tt.Members(2, (6, 12), ("direct", "segment"), combine="weighted")
    settings = {"members": members, "context_length": None}
    return settings, pa.table({"ds": months(), "y": wave(6)}), None


KINDS = (plain, covariates, distribution, paths, targets, committee)


def forecasts(path: Path, futr: dict[str, list[Any]] | None) -> dict[str, dict[str, list[Any]]]:
    """What a saved forecaster says: its forecast, and its back-test."""
    forecaster = tt.load(path)
    dated = None
    if futr is not None:
        ds = pa.array(futr["ds"]).cast(pa.date32())
        dated = pa.table({**futr, "ds": ds})
    rows = {str(r): y.tolist() for r, y in enumerate(forecaster.model.forecast(forecaster.panel))}
    made = {"rows": rows, "backtest": forecaster.backtest.table.to_pydict()}
    if len(forecaster.panel.targets) == 1:
        made["forecast"] = forecaster.predict(futr_df=dated, level=[80]).to_pydict()
    return json.loads(json.dumps(made, default=str))


def machine() -> dict[str, Any]:
    """What the last bit of a forecast depends on."""
    return {**conditions(), "cpu": torch.backends.cpu.get_cpu_capability()}


def main(wanted: Sequence[str]) -> None:
    torch.set_num_threads(1)
    folder = HERE / str(FORMAT.version)
    folder.mkdir(exist_ok=True)
    for kind in (kind for kind in KINDS if not wanted or kind.__name__ in wanted):
        settings, table, more = kind()
        more = dict(more or {})
        futr = more.pop("futr_df", None)
        usual = {"members": 2, "hidden_size": 3, "n_windows": 2, "context_length": 6}
        forecaster = tt.Forecaster(H, **{**usual, "training": TRAINING, **settings})
        path = folder / f"{kind.__name__}.safetensors"
        forecaster.fit(table, **more).save(path)
        ahead = None if futr is None else json.loads(json.dumps(futr.to_pydict(), default=str))
        facts = {"made_on": machine(), "futr": ahead, **forecasts(path, ahead)}
        path.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
        print(f"{path.relative_to(HERE)}: {path.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
