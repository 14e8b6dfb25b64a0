"""Whether the pretrained net stays beside the nets of many series: the first rolling origin tells.

    a_i, b_i = mean over steps of |y - y^| of row i        y^ = n,  and  (n + p) / 2
    gap      = mean over rows of (b_i - a_i) / (b_i + a_i)

for the forecasts n of the nets and p of the pretrained one as it was carried. No unit and no row
counts more than another. It stays where the gap is below .02, and is then taught the series where
there are very many (`effort.py`): one origin of a hundred rows is off by as much by chance, what is
taught errs less than before, and where it does not belong the gap is larger than that
(`docs/decisions/0027-what-a-panel-teaches.md`).

That is one choice of two by up to a thousand rows of which no net has seen what came, so that the
scores of that origin are hardly too good for it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from throughtime.forecasting.fitting.fitting import taught_net
from throughtime.forecasting.models.committee import Answers
from throughtime.forecasting.models.model import Model
from throughtime.forecasting.planning.plan import Call
from throughtime.forecasting.planning.plans import Plans, fit_all
from throughtime.forecasting.series.panel import Panel

NEAR = 0.02  # 4 % of the error


def tried(
    call: Call, planned: Plans, panel: Panel, known: Panel, name: str
) -> tuple[Plans, Answers]:
    """Fit to a panel as planned, and hold the trial if one is due: `known` of the rows that judge.

    Return the plans from there on, and the model.
    """
    if not planned.on_trial:
        return planned, fit_all(call, planned, panel, name)
    model = fit_all(call, planned.untaught, panel, name).models[0]
    planned = planned.tried(stays=gap(model, known) < NEAR)
    taught = taught_net(panel, planned.design, call.observers, call.runs)
    return planned, replace(model, design=planned.design, taught=taught)


def gap(model: Model, known: Panel) -> float:
    """Return by how much half of a model's recurrent part is worse for its pretrained net, in [-1, 1].

    `known` was cut, so that what came lies behind its end.
    """
    h, said = model.design.h, model.kinds(known)["recurrent"]
    ahead = (known.begins + known.lengths)[:, None] + np.arange(h)
    came = known.values[: len(known.targets), ahead].astype(np.float64)
    y = came.swapaxes(0, 1).reshape(-1, h)
    observed = ~np.isnan(y).all(axis=1)
    nets, both = said[: len(said) // 2].mean(axis=0), said.mean(axis=0)
    a, b = (np.nanmean(np.abs(y - y_hat)[observed], axis=1) for y_hat in (nets, both))
    differs = a + b > 0
    return float(np.mean((b - a)[differs] / (b + a)[differs])) if differs.any() else 0.0
