"""The forecaster: from a table of series to forecasts with honest intervals."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from throughtime._checks import one_of, positive_int, real
from throughtime._errors import NotFittedError, SettingError
from throughtime._types import CellName, model_name
from throughtime.diagnostics import Diagnosis, Finding, GradientLog, LagProfile, Watch
from throughtime.forecasting import streaming
from throughtime.forecasting.backtest import Backtest, judged, prefixes, roll
from throughtime.forecasting.baselines import LinearAutoregression, Naive, SeasonalNaive
from throughtime.forecasting.calendar import checked_calendar
from throughtime.forecasting.conformity import GRID
from throughtime.forecasting.covariates import need_future, with_future
from throughtime.forecasting.cures import (
    OF_THE_NET,
    Cures,
    check_names,
    checked_preprogram,
    trained_with,
)
from throughtime.forecasting.decoders import DECODERS
from throughtime.forecasting.demands import checked_counts, checked_panel, windows_that_fit
from throughtime.forecasting.design import Design
from throughtime.forecasting.differences import DIFFERENCES, Difference
from throughtime.forecasting.doctor import examined, treat
from throughtime.forecasting.effort import (
    FEW,
    TRAINING,
    Effort,
    effort_for,
    segment_of,
    trained,
)
from throughtime.forecasting.examples import choose_residual
from throughtime.forecasting.fitting import count_updates, fit
from throughtime.forecasting.frame import read_frame
from throughtime.forecasting.frequency import Frequency
from throughtime.forecasting.learning import MOST_LOSSES, Learner
from throughtime.forecasting.model import Model
from throughtime.forecasting.online import Coverage
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.residuals import RESIDUALS
from throughtime.forecasting.resuming import (
    NOT_KEPT,
    KeptRuns,
    Runs,
    fingerprint,
    snapshot_fingerprint,
)
from throughtime.forecasting.scale_choice import CANDIDATES, LEAST_SERIES, choose
from throughtime.forecasting.scaling import SCALINGS
from throughtime.forecasting.seasons import panel_season_length
from throughtime.forecasting.state import State
from throughtime.forecasting.statics import known_static, read_static
from throughtime.forecasting.transforms import TRANSFORMS, choose_transforms
from throughtime.forecasting.uncertainty import Forecast, paths
from throughtime.nn import Recurrence
from throughtime.training import Checkpoint, History, Observer, TrainingSettings
from throughtime.training.outputs import COUNTS, OUTPUTS

if TYPE_CHECKING:
    from typing_extensions import Unpack

Floats = npt.NDArray[np.float64]

LONGEST_CONTEXT = 512
RECURSIVE = "recursive", "running"
MOST_ORIGINS = 8  # where their number is not given
ENOUGH_ERRORS = 64  # of series times origins
SPAN = 5  # times what the origins span
LOOKS = 30  # at the gradient over time in the final fit


class Forecaster:
    """Forecasts every series of a table `h` steps ahead.

    `target` names the column of values, or several that are forecast together; `hist` the covariates
    that are known up to the present, `futr` those known ahead, `calendar` what of the date is read
    ("hour", "day_of_week", ...; True chooses what varies within the frequency). `decoder` says how
    the nets answer (`decoders/`) and `output` what: a "point", "quantiles" or a distribution
    (`training.outputs`).

    `cell` is the recurrence, "rnn", "lstm", "gru", "mingru" or "minlstm"; `hidden_size`, `num_layers`, `dropout` make
    each of the `members` nets. `context_length` (the look-back), `season_length`, `freq` and
    `residual` ("level", "last", "season") are chosen from the data where None; `transform`
    ("identity", "sqrt", "log1p") is each of them that suits the data, by turns of the members.
    `n_windows` rolling origins (as many as the data allow) calibrate the intervals and score the
    model; 0 leaves both out. `training` says how the nets are trained, its `max_updates` being the
    most; `seed` makes a run repeatable.

    `transform` acts on each value ("identity", "sqrt", "log1p", "log", "asinh"; `transforms.py`), `scaling`
    on each window ("blend", "standard", "robust", "mean-absolute", "last", "series", "revin";
    `scaling.py`; "running", with decoder "synced" or "recursive", lets `update` carry hidden states on,
    `running.py`), and `difference` (1, "season", "both") lets nets read differences. A panel of 20
    series or more has scaling, residual and look-back chosen by how a linear map errs with them
    (`scale_choice.py`), a smaller one "blend"; `scaling_words` says what was taken.

    What vanishing and exploding gradients are cured with is one argument each (`cures.py`):

        init=tt.nn.chrono(132)   a starting point: chrono, orthogonal, identity, forget_bias
        nonlinearity="relu"      in place of tanh, for cell="rnn"
        recurrent_dropout=0.2    zoneout=0.1    layer_norm=True    state_grad_clip=1.0
        clip=0.5                 the largest norm of the gradient; None for no clipping
        penalties=L2(1e-4)       what is added to the loss: L1, L2, Vanishing of `tt.training`
        preprogram="linear"      start from a linear autoregression, or "seasonal"
        cure="auto"              let the doctor look at a short pilot and choose (`treatment` says what)

    After `fit`: `panel` (what was read), `model`, `backtest`, `history` (of the final fit),
    `pilot` (of the run that found the number of updates), `reach` (how far back the gradient
    reaches), `log` (the gradients of the final fit), `treatment` (the findings that were acted on); and
    what `update` moves on: `state`, `coverage`, `losses`. Raises `SettingError` for a setting out of its range.

    >>> import throughtime as tt
    >>> forecaster = tt.Forecaster(h=2, cell="rnn", members=1, n_windows=0)
    >>> table = forecaster.fit([0.0, 1.0, 2.0, 1.0] * 8).predict(level=[])
    >>> table.column_names, table["ds"].to_pylist()
    (['unique_id', 'ds', 'RNN'], [32, 33])
    """

    def __init__(
        self,
        h: int,
        *,
        cell: CellName = "lstm",
        decoder: str = "direct",
        output: str | None = None,
        target: str | Sequence[str] = "y",
        hist: str | Sequence[str] = (),
        futr: str | Sequence[str] = (),
        calendar: bool | Sequence[str] = False,
        context_length: int | None = None,
        season_length: int | None = None,
        freq: str | int | Frequency | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.0,
        members: int | None = None,
        transform: str | None = None,
        scaling: str | None = None,
        difference: Difference | None = None,
        residual: str | None = None,
        companions: bool | None = None,
        segment: int | None = None,
        linear_skip: bool | None = None,
        n_windows: int | None = None,
        training: TrainingSettings = TRAINING,
        seed: int = 0,
        cure: Literal["auto"] | None = None,
        **cures: Unpack[Cures],
    ) -> None:
        check_names(cures, [n for n in signature(type(self)).parameters if n != "cures"])
        self.h = positive_int("h", h)
        one_of("cure", cure, [None, "auto"])
        self.cure = cure
        one_of("transform", transform, [None, *TRANSFORMS])
        one_of("residual", residual, [None, "level", "last", "season"])
        one_of("scaling", scaling, [None, *SCALINGS])
        one_of("difference", difference, DIFFERENCES)
        for name, value in (("context_length", context_length), ("season_length", season_length)):
            if value is not None:
                positive_int(name, value)
        if n_windows is not None:
            positive_int("n_windows", n_windows, at_least=0)
        self.n_windows = n_windows
        self.freq = None if freq is None else Frequency.parse(freq)
        self.columns: dict[str, Any] = {"target": target, "hist": hist, "futr": futr}
        one_of("decoder", decoder, DECODERS)
        one_of("output", output, [None, *OUTPUTS])
        given: dict[str, Any] = {n: value for n, value in cures.items() if n in OF_THE_NET}
        size = FEW.hidden_size if hidden_size is None else hidden_size
        net = Recurrence(cell, size, num_layers, dropout, **given)
        parts = ("cell", "hidden_size", "num_layers", "dropout", *OF_THE_NET)
        self._given: dict[str, Any] = {name: getattr(net, name) for name in parts} | {
            "hidden_size": hidden_size,
            "members": None if members is None else positive_int("members", members),
            "context_length": context_length,
            "season_length": season_length,
            "transforms": None if transform is None else (transform,),
            "residual": residual,
            "scaling": scaling,
            "difference": difference,
            "training": replace(
                trained_with(training, cures), seed=positive_int("seed", seed, at_least=0)
            ),
            "preprogram": checked_preprogram(cures.get("preprogram")),
            "decoder": decoder,
            "output": output or ("student-t" if decoder == "recursive" else "point"),
            "calendar": calendar,
            "companions": companions,
            "segment": segment,
            "linear_skip": linear_skip,
        }
        self._state: State | None = None
        self.coverage = Coverage(h)
        self._learner: Learner | None = None
        self.losses: deque[float] = deque(maxlen=MOST_LOSSES)
        self._ahead: Any = None
        self._fitted: tuple[Panel, Model] | None = None
        self._backtest: Backtest | None = None
        self._reach: LagProfile | None = None
        self.treatment: tuple[Finding, ...] = ()
        self.log: GradientLog | None = None
        self.history, self.pilot = History(), History()

    @property
    def name(self) -> str:
        """The name of the model's column in tables: RNN, LSTM, GRU, MinGRU or MinLSTM."""
        return model_name(self._given["cell"])

    @property
    def panel(self) -> Panel:
        """What `fit` read."""
        return self._need_fit()[0]

    @property
    def model(self) -> Model:
        """What `fit` made."""
        return self._need_fit()[1]

    @property
    def design(self) -> Design:
        """All settings of the fitted model, those chosen from the data among them."""
        return self.model.design

    @property
    def season_length(self) -> int:
        """The season that was given or found, in steps."""
        return self.design.season_length

    @property
    def context_length(self) -> int:
        """The look-back that was given or chosen, in steps."""
        return self.design.context_length

    @property
    def scaling_words(self) -> str:
        """One line on how values are scaled, and from which naive forecast the nets begin."""
        return self.design.scaling_words

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the fitted model, by name."""
        whole = asdict(self.design) | {"init": self.design.init}  # values that say how to pass them
        whole["training"]["penalties"] = self.design.training.penalties
        if self.design.preprogram is not None:
            whole["preprogram_explained"] = self.model.explained
        return whole | {"updates": len(self.history.updates)}

    @property
    def backtest(self) -> Backtest:
        """The rolling origins that calibrated the intervals, or the last cross-validation."""
        if self._backtest is None:
            raise NotFittedError(
                "a back-test", "none", "call fit with n_windows above 0, or cross_validation"
            )
        return self._backtest

    @property
    def reach(self) -> LagProfile:
        """How far back the gradient of one forecast reaches; measured when first asked for."""
        if self._reach is None:
            self._reach = self.model.reach(self.panel)
        return self._reach

    def fit(
        self,
        data: Any,
        *,
        static_df: Any = None,
        level: Sequence[float] = (80, 95),
        observers: Sequence[Observer] = (),
        checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
        warm_start: bool = False,
    ) -> Forecaster:
        """Learn from a table `unique_id, ds, y` (pandas, polars, pyarrow), a Series or an array.

        `static_df` says of every series what does not change, in numbers or categories: a table with
        `unique_id` and a column for each.
        First the rolling origins, fitted on what was known there, by what the first of them could
        decide; then everything, by what all of it tells. Of more
        than 1,000 series, 1,000 judge the forecasts of the origins.
        `backtest` measures the coverage of intervals at `level`; `predict` may ask for others.

        With `warm_start` the final fit goes on from the weights there are, by the decisions of the
        last fit and as many updates; the table has its columns. Rolling origins begin anew, as these
        weights may know what comes after them.

        Ctrl-C in the final fit ends it with the weights so far (`history.reason` is "interrupted"),
        before that it raises KeyboardInterrupt. With `checkpoint`, a path or a `Checkpoint`, a file
        keeps what is done: after a kill or Ctrl-C the same call, in another process, goes on there
        and ends with the same bits as if it had never stopped. It is removed in the end. Observers
        hear what is done anew; `log` is None where that is not the whole of the final fit.

        Raises `DataError` naming what does not fit, `DivergedError` where training breaks down,
        `ModelFileError` for a checkpoint of another fit; all leave the forecaster as it was.
        """
        start = self._need_fit()[1] if warm_start else None
        panel = self._read(data, static_df, self.panel if warm_start else None)
        runs = self._runs(checkpoint, panel, start, "fit")
        before = self.treatment
        try:
            n_windows = self._n_windows(panel)
            if n_windows:
                backtest, design, updates, pilot = self._rolled(
                    panel, n_windows, self.h, level, None, observers, runs, start
                )
                if start is None and self.cure is None:  # a longer past may tell more
                    whole = self._decide(panel, panel)
                    if whole != design:
                        design, name = whole, "pilot on everything"
                        updates, pilot = count_updates(panel, design, observers, name, runs)
            else:
                design, (updates, pilot) = self._piloted(panel, panel, observers, runs, start)
                backtest = None
            watch = Watch(every=max(1, updates // LOOKS))
            watched = (*observers, watch)
            model, history = fit(
                panel, design, updates, watched, "final fit", runs, partial=True, start=start
            )
        except BaseException:
            self.treatment = before
            raise
        if history.reason != "interrupted":
            runs.finish()
        self._take(panel, model, backtest, history, pilot)
        self.log = None if runs.took_up else watch.log
        return self

    def diagnose(self, data: Any = None, *, step: str = "step") -> Diagnosis:
        """Say how far back the nets' gradients reach, what is wrong, and which argument cures it.

        Measured on the first of the nets and windows of the table that `fit` saw, or of `data`; what
        training looked like belongs to it while the forecaster is the one that was fitted. `step` is
        the word for a time step, such as "month".
        """
        fitted, model = self._need_fit()
        panel = fitted if data is None else self._read(data)
        return examined(model.design, model.network, panel, self.log, step)

    def predict(
        self,
        data: Any = None,
        *,
        h: int | None = None,
        futr_df: Any = None,
        static_df: Any = None,
        level: Sequence[float] = (80, 95),
    ) -> Any:
        """Return the next h values of every series, with intervals at `level` percent.

        A table of the kind that `fit` saw: `unique_id`, `ds`, the model's column (`LSTM`), and
        `LSTM-lo-80`, `LSTM-hi-80` for each level; with several targets `load-LSTM` and so on.
        Intervals are calibrated on the rolling origins. Without any, an output that is no point
        has those that the nets say, which nothing has measured: they are usually too narrow.
        `h` may be shorter than the forecaster's; decoder="recursive" goes on for any, with the last
        step's calibration for those beyond. `futr_df` has the covariates known ahead, for the h steps after every series. With `data`,
        series go on from the end of that table with the weights as they are. Raises
        `NotFittedError` before `fit`, or where intervals of points are asked for and no rolling
        origins were made; `DataError` naming the first date for which a covariate is missing.
        """
        levels, h = checked(level), self._horizon(h)
        panel = self._to_predict(data, futr_df, static_df, h)
        made = Forecast.of(self.model, panel, h, self._backtest, bool(levels), self.coverage)
        ends = {each: made.interval(each) for each in levels}
        if ends and data is None:
            self._issue(ends)
        return panel.like(made.columns(panel, self.name, ends))

    def sample(
        self,
        n: int = 100,
        data: Any = None,
        *,
        h: int | None = None,
        futr_df: Any = None,
        static_df: Any = None,
        seed: int = 0,
    ) -> Any:
        """Draw n paths of the next h values of every series, whose steps depend on each other.

        A table of the kind that `fit` saw: `unique_id`, `ds`, `sample` (0 ... n - 1) and the model's
        column. At each step the paths are distributed as `predict`'s intervals say; the steps, and
        several targets, are tied as their errors at the rolling origins were (`copula.py`), or as
        the paths that decoder="recursive" draws. Sums, extremes and times of a path are draws of
        theirs. Other arguments as for `predict`. Raises `NotFittedError` without rolling origins,
        which decoder="recursive" alone can do without.

        >>> import throughtime as tt
        >>> forecaster = tt.Forecaster(h=2, cell="rnn", members=1, n_windows=2)
        >>> table = forecaster.fit([0.0, 1.0, 2.0, 1.0] * 8).sample(n=3)
        >>> table["ds"].to_pylist(), table["sample"].to_pylist()
        ([32, 33, 32, 33, 32, 33], [0, 0, 1, 1, 2, 2])
        """
        n, h = positive_int("n", n), self._horizon(h)
        panel = self._to_predict(data, futr_df, static_df, h)
        drawn = paths(
            self.model, panel, h, self._backtest, n, positive_int("seed", seed, at_least=0)
        )
        ids, ds = (each.reshape(-1, h) for each in panel.future(h))
        columns: dict[str, Any] = {
            "unique_id": np.repeat(ids, n, axis=0).reshape(-1),
            "ds": np.repeat(ds, n, axis=0).reshape(-1),
            "sample": np.tile(np.repeat(np.arange(n), h), len(ids)),
        }
        before = prefixes(panel)
        for m, prefix in enumerate(before):
            columns[prefix + self.name] = drawn[:, m :: len(before)].swapaxes(0, 1).reshape(-1)
        return panel.like(columns)

    def _horizon(self, h: int | None) -> int:
        """Return the horizon to forecast; `SettingError` where the model cannot go so far."""
        h = self.h if h is None else positive_int("h", h)
        if h > self.h and not self.design.any_horizon:
            raise SettingError(
                f"h of at most {self.h}, for which this forecaster was fitted",
                str(h),
                f"fit with h={h}, or with decoder='recursive' without companions",
            )
        return h

    def _to_predict(self, data: Any, futr_df: Any, static_df: Any, h: int) -> Panel:
        fitted = self.panel
        if data is not None:
            panel = read_frame(data, like=fitted)
            if self.design.counts:
                checked_counts(panel)
        else:
            panel = self._newest()
        if static_df is not None:
            panel = replace(panel, static=read_static(static_df, panel.ids, fitted.static))
        elif data is not None and fitted.static.names:
            panel = replace(panel, static=known_static(fitted.static, fitted.ids, panel.ids))
        if futr_df is None and data is None and self._state is not None:
            futr_df = self._ahead
        if futr_df is not None:
            panel = with_future(panel, futr_df, h)
        need_future(panel, h)
        return panel

    def _newest(self) -> Panel:
        """Return what was fitted, or the newest part of it and of the rows since."""
        fitted, model = self._need_fit()
        if self._state is None and not model.design.carries:
            return fitted
        state = self.state
        if len(state) > len(fitted.ids) or (state.arrays["lengths"] > fitted.lengths).any():
            return state.panel
        return replace(fitted, memory=state) if model.design.carries else fitted

    def _issue(self, ends: dict[float, tuple[Floats, Floats]]) -> None:
        """Remember intervals by level, to be scored by the values that `update` will bring."""
        fitted, state = self.panel, self._state
        lengths = fitted.lengths if state is None else state.arrays["lengths"]
        shape = len(ends), len(lengths), len(fitted.targets), -1
        low, high = (np.stack(each).reshape(shape) for each in zip(*ends.values(), strict=True))
        self.coverage.issue(tuple(ends), lengths, low, high)

    def update(self, data: Any, *, futr_df: Any = None, learn: bool = False) -> Forecaster:
        """Go on by new rows: `predict` then forecasts from the new end of every series.

        Intervals follow their coverage: those that `predict` gave out are scored by the rows that
        fall into them, and `coverage` widens or narrows the next ones (`online.py`).
        Hidden states (of `scaling="running"`), scales and last values move on, each row at the same
        cost however long its series, and nothing is read again. `data` is a
        table of the kind that `fit` saw, with rows after the last date of each series; a dict of one
        row or of columns; or, of a single series, its next value or values. Dates that are left out
        and values that are NaN are gaps; a series that is new begins with its first value. `futr_df`
        has the covariates known ahead, for the h steps after the new rows.

        With `learn` the nets learn on, once for every 8 steps or fewer (`learning.py`); `losses` has
        the loss before each of these updates. A `DivergedError` there leaves the weights before it,
        and the rows up to there read.

        `panel` stays what was fitted; what came after is in `state` (`state.py`), which forgets all
        but the last steps. Raises `DataError` naming series and date of a row that is late, comes
        twice or lies off the grid; the forecaster is then as it was.

        >>> import throughtime as tt
        >>> forecaster = tt.Forecaster(h=2, cell="rnn", members=1, n_windows=0)
        >>> forecaster = forecaster.fit([0.0, 1.0, 2.0, 1.0] * 8)
        >>> forecaster.update(0.0).update([1.0, 2.0]).predict(level=[])["ds"].to_pylist()
        [35, 36]
        """
        if learn and self._learner is None:
            self._learner = Learner(self.model, self.losses)
        streaming.update(self.state, self.coverage, data, self._learner if learn else None)
        self._ahead = futr_df
        return self

    @property
    def state(self) -> State:
        """What is carried of every series, from `fit` and every `update` since."""
        fitted, model = self._need_fit()
        if self._state is None:
            self._state = State.read(fitted, model.design, model.channels, model.network)
        return self._state

    def cross_validation(
        self,
        data: Any,
        n_windows: int = 8,
        step_size: int | None = None,
        *,
        static_df: Any = None,
        level: Sequence[float] = (80, 95),
        refit: bool | int = True,
        observers: Sequence[Observer] = (),
        checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    ) -> Any:
        """Forecast at `n_windows` rolling origins, `step_size` apart (h where None).

        Returns a table of the kind that came in, with `cutoff`, `y`, the model's column, its
        intervals and the baselines'; `backtest` then holds it with its scores. With `refit` the
        model is fitted anew at every origin, with a number n at every n-th, the model of the one
        before going on in between; with False once, before the first. What is decided from the data
        is decided on what was known at the first origin. Covariates known ahead are those of the
        table; `static_df` and `checkpoint` are as in `fit`.
        """
        panel = self._read(data, static_df)
        step_size = self.h if step_size is None else positive_int("step_size", step_size)
        positive_int("n_windows", n_windows)
        if not isinstance(refit, bool):
            positive_int("refit", refit)
        rolling = {"n_windows": n_windows, "step_size": step_size, "refit": refit}
        runs = self._runs(checkpoint, panel, None, "cross_validation", **rolling)
        self._backtest, *_ = self._rolled(
            panel, n_windows, step_size, level, refit, observers, runs
        )
        runs.finish()
        return panel.like(self._backtest.columns)

    def plot(
        self, level: Sequence[float] = (80, 95), series: Any = None, last: int | None = None
    ) -> Any:
        """Draw the newest values, the forecast and its intervals, as a plotly figure.

        `series` is a name or several, the first few where None; `last` how many values are shown.
        Raises `MissingExtraError` where plotly is not installed, and what `predict` raises.
        """
        from throughtime.forecasting.views import forecast_figure

        return forecast_figure(self, level, series, last)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted forecaster to one file (safetensors with JSON), whole or not at all."""
        from throughtime.forecasting.storage import save

        save(self, path)

    def _take(
        self,
        panel: Panel,
        model: Model,
        backtest: Backtest | None,
        history: History,
        pilot: History,
    ) -> None:
        self._fitted, self._backtest, self._reach = (panel, model), backtest, None
        self._state, self._ahead, self.coverage = None, None, Coverage(self.h)
        self._learner, self.losses = None, deque(maxlen=MOST_LOSSES)
        self.log = None
        self.history, self.pilot = history, pilot

    def _read(self, data: Any, static_df: Any = None, like: Panel | None = None) -> Panel:
        if like is not None:
            panel = read_frame(data, like=like, static_df=static_df)
        else:
            panel = read_frame(data, self.freq, **self.columns)
            if static_df is not None:
                panel = replace(panel, static=read_static(static_df, panel.ids))
        if self._given["output"] in COUNTS:
            checked_counts(panel)
        return checked_panel(panel, self.h)

    def _need_fit(self) -> tuple[Panel, Model]:
        if self._fitted is None:
            raise NotFittedError("a fitted forecaster", "one that is not", "call fit first")
        return self._fitted

    def _rolled(
        self,
        panel: Panel,
        n_windows: int,
        step_size: int,
        level: Sequence[float],
        refit: bool | int | None,
        observers: Sequence[Observer],
        runs: Runs,
        start: Model | None = None,
    ) -> tuple[Backtest, Design, int, History]:
        """Make the rolling origins; also return what was decided at the first."""
        levels = checked(level)
        R = windows_that_fit(panel, self.h, n_windows, step_size)
        if refit is None:  # where the origins span little of the history, one model serves them all
            refit = SPAN * (self.h + (R - 1) * step_size) > int(panel.lengths.max())
        first = panel.cut(self.h + (R - 1) * step_size)
        design, (updates, pilot) = self._piloted(first, panel, observers, runs, start)
        models: list[Model] = []

        def forecast(known: Panel, r: int) -> tuple[Floats, Floats | None]:
            """Forecast what is `known` of the judged series; all of them are learned from."""
            if not models or (refit and r % refit == 0):
                every = panel.cut(self.h + (R - 1 - r) * step_size)
                name = f"back-test {r + 1}/{R}"
                models[:] = [fit(every, design, updates, observers, name, runs)[0]]
            if design.output == "point":
                return models[0].forecast(known), None
            return models[0].distribution(known, GRID)

        season = design.season_length
        baselines = (Naive(), SeasonalNaive(season), LinearAutoregression(season=season))
        backtest = roll(
            judged(panel, self.h + (R - 1) * step_size),
            self.name,
            forecast,
            baselines,
            h=self.h,
            n_windows=R,
            step_size=step_size,
            season_length=season,
            transform=design.scale,
            levels=levels,
            counts=design.counts,
        )
        return backtest, design, updates, pilot

    def _n_windows(self, panel: Panel) -> int:
        """Return how many origins are asked for.

        Where the user did not say: of many series fewer, whose errors tell enough, and no more than
        leave half of the longest series before the first, where it is decided how all is forecast.
        """
        if self.n_windows is not None:
            return self.n_windows
        enough = max(2, -(-ENOUGH_ERRORS // len(panel)))
        return max(1, min(MOST_ORIGINS, enough, int(panel.lengths.max()) // 2 // self.h))

    def _piloted(
        self,
        panel: Panel,
        whole: Panel,
        observers: Sequence[Observer],
        runs: Runs,
        start: Model | None = None,
    ) -> tuple[Design, tuple[int, History]]:
        if start is not None:  # what was decided before stays
            return start.design, (max(1, len(self.history.updates)), self.pilot)
        design = self._decide(panel, whole)
        if self.cure == "auto":
            longest = min(LONGEST_CONTEXT, (int(panel.lengths.max()) - self.h) // 2)
            design, treatment = treat(panel, design, self._chosen(), longest, observers)
            self.treatment = treatment
        return design, count_updates(panel, design, observers, "pilot", runs)

    def _runs(
        self,
        checkpoint: Checkpoint | str | os.PathLike[str] | None,
        panel: Panel,
        start: Model | None,
        call: str,
        **how: Any,
    ) -> Runs:
        """Return the runs of a fit, kept in a file if there is a checkpoint."""
        if checkpoint is None:
            return NOT_KEPT
        from throughtime.forecasting.storage.given import pack_given
        from throughtime.forecasting.storage.model import pack_model

        file = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
        of: dict[str, Any] = {"call": call, **how, "start": None}
        of |= {"settings": pack_given(self), "data": fingerprint(panel)}
        if start is not None:
            weights = snapshot_fingerprint(pack_model(start))
            of["start"] = {"updates": len(self.history.updates), "weights": weights}
        return KeptRuns(file, of)

    def _chosen(self) -> set[str]:
        """Return the cures that were passed and are not what would be without them."""
        usual = {each.name: each.default for each in fields(Design)}
        chosen = {name for name in OF_THE_NET if self._given[name] != usual[name]}
        if self._given["training"].clip != TRAINING.clip:
            chosen.add("clip")
        if self._given["context_length"] is not None:
            chosen.add("context_length")
        return chosen

    def _decide(self, panel: Panel, whole: Panel) -> Design:
        """Fill in what the user left open, from nothing but this panel.

        Only whether values may be below 0 is asked of the whole: a fact about what is measured.
        """
        if panel.futr and (self._given["decoder"], self._given["scaling"]) == RECURSIVE:
            raise SettingError(
                f"scaling='running' without columns known ahead for decoder='recursive', which "
                f"reads {' and '.join(panel.futr)} of the step after each",
                f"futr={list(panel.futr)}",
                "pass decoder='synced', or leave scaling out",
            )
        given, room = dict(self._given), int(panel.lengths.max()) - self.h
        effort = effort_for(panel, self.h)
        given["training"] = trained(effort, given["training"])
        for name in ("hidden_size", "members"):
            given[name] = getattr(effort, name) if given[name] is None else given[name]
        if given["decoder"] == "recursive" and panel.hist:
            raise SettingError(
                "no hist for decoder='recursive', which reads every step ahead",
                f"hist={', '.join(panel.hist)}",
                "choose another decoder, or name in futr what is known ahead",
            )
        for name in ("season_length", "context_length"):
            if given[name] is not None and given[name] > room:
                raise SettingError(
                    f"{name} of at most {room}, for a horizon of {self.h} after it",
                    str(given[name]),
                    "shorten it or pass more history",
                )
        if given["season_length"] is None:
            given["season_length"] = panel_season_length(panel, self.h)
        if given["output"] in COUNTS:  # which cannot be shifted
            given["transforms"] = given["transforms"] or ("identity",)
            given["residual"] = given["residual"] or "level"
        if given["transforms"] is None:
            given["transforms"] = choose_transforms(whole)
        given["calendar"] = checked_calendar(given["calendar"], panel.frequency)
        season = given["season_length"]
        if given["context_length"] is None:
            wanted = max(2 * self.h, 3 * season if 3 * season <= LONGEST_CONTEXT else season)
            longest = min(LONGEST_CONTEXT, max(1, room // 2))
            contexts = [min(k * wanted, longest) for k in (1, 2)]
        else:
            contexts = [given["context_length"]]
        given |= self._scaled(panel, given, contexts)
        if given["companions"] is None:  # which know nothing of covariates, and no other horizon
            reads_more = panel.hist or panel.futr or given["decoder"] == "recursive"
            given["companions"] = not (reads_more or given["output"] in COUNTS or effort.many)
        given |= self._read_how(given, effort)
        return Design(h=self.h, **given)

    @staticmethod
    def _read_how(given: dict[str, Any], effort: Effort) -> dict[str, Any]:
        """Return what is open of segments and the linear skip."""
        fits = effort.many and given["decoder"] == "direct" and given["scaling"] != "revin"
        fits = fits and given["output"] not in COUNTS
        segment, skip = given["segment"], given["linear_skip"]
        if segment is None:
            segment = segment_of(given["context_length"], given["season_length"]) if fits else 1
        return {"segment": segment, "linear_skip": fits if skip is None else skip}

    def _scaled(
        self, panel: Panel, given: dict[str, Any], contexts: Sequence[int]
    ) -> dict[str, Any]:
        """Return what is open of scaling, naive base and look-back; `contexts` may be chosen from."""
        scaling, residual = given["scaling"], given["residual"]
        first, season = TRANSFORMS[given["transforms"][0]], given["season_length"]
        if len(panel.ids) >= LEAST_SERIES and scaling != "running":  # which windows do not have
            choice = choose(
                panel,
                first,
                self.h,
                season,
                sorted(set(contexts)),
                CANDIDATES if scaling is None else (scaling,),
                RESIDUALS if residual is None else (residual,),
            )
            if choice is not None:
                return choice.settings
        L = contexts[0]
        if residual is None:
            known = self._given["season_length"] is not None
            residual = choose_residual(panel, first, L, self.h, season, known)
        return {"scaling": scaling or "blend", "residual": residual, "context_length": L}


def checked(level: Sequence[float]) -> tuple[float, ...]:
    """Return the levels in rising order; `SettingError` for one that is not between 0 and 100."""
    return tuple(sorted({real("level", each, above=0, below=100) for each in level}))
