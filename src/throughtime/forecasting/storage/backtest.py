"""A back-test in a file: values and forecasts at the rolling origins; its panel where that is another."""

from __future__ import annotations

import numpy as np
import torch

from throughtime._archive import Snapshot
from throughtime._checks import one_of, positive_int
from throughtime.forecasting.calibration.conformity import GRID
from throughtime.forecasting.calibration.intervals import checked_levels
from throughtime.forecasting.evaluation.backtest import Backtest
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.storage.checking import all_of, array, need
from throughtime.forecasting.storage.panel import pack_panel, unpack_panel
from throughtime.forecasting.storage.spread import pack_spread, unpack_spread

_COUNTS = ("h", "n_windows", "step_size", "season_length")


def pack_backtest(backtest: Backtest, fitted: Panel) -> Snapshot:
    """Take a back-test apart; `fitted` is the panel that the file holds already."""
    facts = {name: getattr(backtest, name) for name in _COUNTS}
    facts |= {
        "transform": backtest.transform.name,
        "levels": backtest.levels,
        "models": backtest.models,
        "quantiles": _quantiles_of(backtest),
    }
    part = Snapshot({"y": torch.tensor(backtest.y)}, facts)
    for i, model in enumerate(backtest.models):
        part.tensors[f"forecast.{i}"] = torch.tensor(backtest.forecasts[model])
    if backtest.quantiles is not None:
        part.tensors["quantiles"] = torch.tensor(backtest.quantiles)
    if backtest.spread is not None:
        part.include("spread", pack_spread(backtest.spread))
    if backtest.panel is not fitted:
        part.include("panel", pack_panel(backtest.panel.compact()))
    return part


def _quantiles_of(backtest: Backtest) -> str:
    if backtest.quantiles is None:
        return "none"
    return "counts" if backtest.counts else "numbers"


def unpack_backtest(part: Snapshot, fitted: Panel) -> Backtest:
    """Put together what `pack_backtest` took apart; `ValueError` for what does not fit."""
    facts = part.facts
    panel = unpack_panel(part.part("panel")) if "panel" in facts else fitted
    h, R, step_size, season_length = (positive_int(name, facts[name]) for name in _COUNTS)
    need(h + (R - 1) * step_size < int(panel.lengths.max()), "the origins of the back-test")
    models = facts["models"]
    need(all_of(models, str) and len(set(models)) == len(models) > 0, "models")
    one_of("transform", facts["transform"], TRANSFORMS)
    y, *forecasts = (
        array(part, name, np.float64, R, len(panel), h)
        for name in ("y", *(f"forecast.{i}" for i in range(len(models))))
    )
    kind = facts["quantiles"]
    one_of("quantiles", kind, ("none", "numbers", "counts"))
    quantiles = None
    if kind != "none":
        quantiles = array(part, "quantiles", np.float64, R, len(panel), h, len(GRID))
        need(bool((np.isfinite(quantiles) | np.isnan(y)[..., None]).all()), "quantiles")
    return Backtest(
        panel,
        h,
        R,
        step_size,
        season_length,
        TRANSFORMS[facts["transform"]],
        checked_levels(facts["levels"]),
        y,
        dict(zip(models, forecasts, strict=True)),
        quantiles,
        kind == "counts",
        unpack_spread(part.part("spread"), R, len(panel)) if "spread" in facts else None,
    )
