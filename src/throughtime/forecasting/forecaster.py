"""The forecaster: from a table of series to forecasts with honest intervals.

This is the door. What lies behind it, in the order in which a fit goes through:

    given          the arguments, checked                          `settings/given.py`
    panel          the table, or a Parquet file, on its grid       `reading.py`, `series/`
    plan           what was left open, decided; a short pilot      `planning/`
    backtest       rolling origins                                 `rolling.py`, `evaluation/`
    fitted         the nets on everything                          `final.py`, `fitting/`
    forecasts      of a model, with intervals and as paths         `models/`, `uncertainty.py`
    stream         what new rows move on                           `streaming/`
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from throughtime._checks import positive_int, random_seed
from throughtime._errors import NotFittedError
from throughtime._types import CellName
from throughtime.diagnostics import Diagnosis, Finding, GradientLog, LagProfile
from throughtime.forecasting.answering import panel_to_forecast, path_columns
from throughtime.forecasting.calibration.intervals import checked_levels
from throughtime.forecasting.calibration.online import Coverage
from throughtime.forecasting.calibration.spread import Spread
from throughtime.forecasting.evaluation.backtest import Backtest
from throughtime.forecasting.evaluation.views import forecast_figure
from throughtime.forecasting.final import fit_whole
from throughtime.forecasting.fitting.fitted import Fitted
from throughtime.forecasting.fitting.resuming import runs_of
from throughtime.forecasting.models.committee import Answers
from throughtime.forecasting.models.state import State
from throughtime.forecasting.planning.budget import Budget
from throughtime.forecasting.planning.choosing import Choice
from throughtime.forecasting.planning.doctor import examined
from throughtime.forecasting.planning.plan import Call
from throughtime.forecasting.preprocessing.differences import Difference
from throughtime.forecasting.reading import read
from throughtime.forecasting.rolling import roll_origins
from throughtime.forecasting.saving import save
from throughtime.forecasting.series.frequency import Frequency
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.settings.cures import Cures
from throughtime.forecasting.settings.design import Design
from throughtime.forecasting.settings.effort import TRAINING
from throughtime.forecasting.settings.given import checked_arguments
from throughtime.forecasting.settings.members import Members
from throughtime.forecasting.streaming.stream import Stream
from throughtime.forecasting.uncertainty import Forecast, paths
from throughtime.training import Checkpoint, History, Observer, TrainingSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Forecaster:
    """Forecasts every series of a table `h` steps ahead.

    `target` names the column of values, or several that are forecast together; `hist` the
    covariates that are known up to the present, `futr` those known ahead, `calendar` what of the
    date is read ("hour", "day_of_week:3" with three harmonics, "11" for integers; True chooses by
    the frequency). `architecture` says how the nets answer (`architectures/`; None goes by what
    there is to learn from, `settings/effort.py`) and `output` what: a "point", "quantiles" or a
    distribution (`training.outputs`). "ar" reads the calendar where it is left open, and the values
    `lags` steps before the one it forecasts, chosen by the season where None.

    `cell` is the recurrence, "rnn", "lstm", "gru", "mingru" or "minlstm"; `hidden_size`,
    `num_layers`, `dropout` make each of the `members` nets: a number of them, or `tt.Members` for
    several contexts, architectures and cells, and a mean, a median or weights
    (`settings/members.py`); design, history, log and reach are then those of the first group.
    `context_length` (the look-back), `season_length`, `freq` and `residual` ("level", "last",
    "season") are chosen from the data where None; `transform` ("identity", "sqrt", "log1p") is each
    of them that suits the data, by turns of the members. `architecture="auto"` is the one that errs
    least on rolling origins inside the training data (`planning/choosing.py`), which takes as long
    as a fit or two, or 0.3 of a `budget`. That is the time all of `fit` may take, as "90s", "2m",
    "1h", "1m30s" or seconds: it makes fewer updates where the machine is slow, so that another run
    may differ; `settings` tells their number (`planning/budget.py`). `n_windows` rolling origins
    (as many as the data allow) calibrate the intervals and score the model; 0 leaves both out.
    `training` says how the nets are trained, its `max_updates` being the most; `seed` makes a run
    repeatable.

    `transform` acts on each value ("identity", "sqrt", "log1p", "log", "asinh";
    `preprocessing/transforms.py`), `scaling` on each window ("blend", "standard", "robust",
    "mean-absolute", "last", "shift", "series", "revin"; `preprocessing/scaling.py`; "running", with
    architecture "synced" or "recursive", lets `update` carry hidden states on,
    `examples/running.py`), and `difference` (1, "season", "both"; 0 for none) lets nets read
    differences. A panel of 20 series or more, or of long ones, has scaling, residual and look-back
    chosen by how a linear map errs with them (`planning/scale_choice.py`), a very large one the
    difference, too; another has "blend". `scaling_words` says what was taken.

    Where there is little to learn from, others stand beside the nets, in equal parts: autoregressions,
    exponential smoothing or, of a cycle about a level, its last seasons (`models/companions.py`), and
    a net that learned from simulated series (`pretrained/`). Of many series that net alone does, taught
    them where there are very many, unless the first rolling origin speaks against it
    (`planning/trial.py`). `companions=False` leaves them out.

    Where there is much to learn from (`settings/effort.py`), long contexts are read by `segment`s
    beside a `linear_skip`, a number of linear maps (`architectures/at_once.py`); with very much, errors
    are weighed in the units that forecasts are judged in: `weighting` "owa", else "window", that of
    each window's own scale (`examples/importance.py`).

    What vanishing and exploding gradients are cured with is one argument each (`settings/cures.py`):

        init=tt.nn.chrono(132)   a starting point: chrono, orthogonal, identity, forget_bias
        nonlinearity="relu"      in place of tanh, for cell="rnn"
        recurrent_dropout=0.2    zoneout=0.1    layer_norm=True    state_grad_clip=1.0
        clip=0.5                 the largest norm of the gradient; None for no clipping
        penalties=L2(1e-4)       what is added to the loss: L1, L2, Vanishing of `tt.training`
        preprogram="linear"      start from a linear autoregression, or "seasonal"
        cure="auto"              let the doctor look at a short pilot and choose (`treatment` says what)

    After `fit`: `panel` (what was read), `model`, `backtest`, `history`, `pilot`, `reach`, `log`,
    `treatment` (the findings that were acted on) and `choice` (the architectures that were tried);
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
        architecture: str | None = None,
        output: str | None = None,
        target: str | Sequence[str] = "y",
        hist: str | Sequence[str] = (),
        futr: str | Sequence[str] = (),
        calendar: bool | Sequence[str] | None = None,
        context_length: int | None = None,
        season_length: int | None = None,
        freq: str | int | Frequency | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        dropout: float | None = None,
        members: int | Members | None = None,
        transform: str | None = None,
        scaling: str | None = None,
        difference: Difference | None = None,
        residual: str | None = None,
        companions: bool | None = None,
        segment: int | None = None,
        linear_skip: bool | int | None = None,
        weighting: str | None = None,
        lags: Sequence[int] | None = None,
        n_windows: int | None = None,
        training: TrainingSettings = TRAINING,
        seed: int = 0,
        cure: Literal["auto"] | None = None,
        budget: str | float | None = None,
        **cures: Unpack[Cures],
    ) -> None:
        arguments = dict(locals())  # all of them, by name
        del arguments["self"], arguments["cures"]
        self._given = checked_arguments(arguments, cures)
        self._fitted: Fitted | None = None
        self._backtest: Backtest | None = None
        self._stream = Stream(Coverage(self.h))
        self.treatment: tuple[Finding, ...] = ()
        self.choice: Choice | None = None

    @property
    def h(self) -> int:
        """How many steps are forecast."""
        return self._given.h

    @property
    def name(self) -> str:
        """The name of the model's column in tables, such as LSTM, MinGRU or LSTM+GRU."""
        return self._given.name

    @property
    def panel(self) -> Panel:
        """What `fit` read."""
        return self._need_fit().panel

    @property
    def model(self) -> Answers:
        """What `fit` made: a `Model`, or a `Committee` of one for each group of members."""
        return self._need_fit().model

    @property
    def design(self) -> Design:
        """All settings of the fitted model, those chosen from the data among them; of groups, the first's."""
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
    def beside_words(self) -> str:
        """What stands beside the nets of few data, in a few words; empty where nothing does."""
        return self.design.beside_words

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the fitted model, by name; of several groups the first's, and each in `groups`."""
        return self._need_fit().settings

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
        return self._need_fit().reach

    @property
    def history(self) -> History:
        """The updates of the final fit."""
        return History() if self._fitted is None else self._fitted.history

    @property
    def pilot(self) -> History:
        """The run that found the number of updates."""
        return History() if self._fitted is None else self._fitted.pilot

    @property
    def log(self) -> GradientLog | None:
        """The gradients of the final fit; None where this call has not seen the whole of it."""
        return None if self._fitted is None else self._fitted.log

    @property
    def state(self) -> State:
        """What is carried of every series, from `fit` and every `update` since."""
        return self._stream.state_after(self._need_fit())

    @property
    def coverage(self) -> Coverage:
        """How widths follow their coverage since the fit."""
        return self._stream.coverage

    @property
    def losses(self) -> deque[float]:
        """The loss before each update of an `update` that learns."""
        return self._stream.losses

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

        Or from the path of a Parquet file with these columns, read in pieces where it can be
        (`read_parquet`). `static_df` says of every series what does not change, in numbers or
        categories: a table with `unique_id` and a column for each.

        First the rolling origins, fitted on what was known there, by what the first of them could
        decide; then everything, by what all of it tells. Of more than 1,000 series, 1,000 judge the
        forecasts of the origins. `backtest` measures the coverage of intervals at `level`; `predict`
        may ask for others.

        With `warm_start` the final fit goes on from the weights there are, by the decisions of the
        last fit and as many updates; the table has its columns. Rolling origins begin anew, as these
        weights may know what comes after them.

        Ctrl-C in the final fit ends it with the weights so far (`history.reason` is "interrupted"),
        before that, and with several groups of members, it raises KeyboardInterrupt. With
        `checkpoint`, a path or a `Checkpoint`, a file keeps what is done: after a kill or Ctrl-C the
        same call, in another process, goes on there and ends with the same bits as if it had never
        stopped. It is removed in the end. Observers hear what is done anew; `log` is None where that is
        not the whole of the final fit.

        Raises `DataError` naming what does not fit, `DivergedError` where training breaks down,
        `ModelFileError` for a checkpoint of another fit; all leave the forecaster as it was.
        """
        given, start = self._given, self._need_fit() if warm_start else None
        budget = Budget(given.budget)
        panel = read(data, given, static_df, None if start is None else start.panel)
        runs = runs_of("fit", checkpoint, given, panel, start)
        call = Call(given, observers, runs, start, budget)
        fitted, backtest, plan = fit_whole(call, panel, level)
        self._take(fitted, backtest)
        if not warm_start:
            self.treatment, self.choice = plan.treatment, plan.choice
        return self

    def diagnose(self, data: Any = None, *, step: str = "step") -> Diagnosis:
        """Say how far back the nets' gradients reach, what is wrong, and which argument cures it.

        Measured on the first of the nets and windows of the table that `fit` saw, or of `data`; what
        training looked like belongs to it while the forecaster is the one that was fitted. `step` is
        the word for a time step, such as "month".
        """
        fitted = self._need_fit()
        panel = fitted.panel if data is None else read(data, self._given)
        model = fitted.model
        return examined(self.design, model.network, panel, fitted.log, step, model.channels)

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
        `h` may be shorter than the forecaster's; architecture="recursive" goes on for any, with the
        last step's calibration for those beyond. `futr_df` has the covariates known ahead, for the h steps
        after every series. With `data`, a table or a Parquet file, series go on from its end with the
        weights as they are. Raises `NotFittedError` before `fit`, or where intervals of points are
        asked for and no rolling origins were made; `DataError` naming the first date for which a
        covariate is missing.
        """
        levels = checked_levels(level)
        h = self.h if h is None else positive_int("h", h)
        panel = panel_to_forecast(self._need_fit(), self._stream, h, data, futr_df, static_df)
        spread = self._spread(panel) if levels and data is None else None
        made = Forecast.of(
            self.model, panel, h, self._backtest, bool(levels), self.coverage, spread
        )
        ends = {each: made.interval(each) for each in levels}
        if ends and data is None:
            self._stream.issue(self.panel, ends)
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

        A table of the kind that `fit` saw: `unique_id`, `ds`, `sample` (0 ... n - 1) and the
        model's column. At each step the paths are distributed as `predict`'s intervals say; the
        steps, and several targets, are tied as their errors at the rolling origins were
        (`calibration/copula.py`), or as the paths that architecture="recursive" draws. Sums,
        extremes and times of a path are draws of theirs. Other arguments as for `predict`. Raises
        `NotFittedError` without rolling origins, which architecture="recursive" alone can do
        without.

        >>> import throughtime as tt
        >>> forecaster = tt.Forecaster(h=2, cell="rnn", members=1, n_windows=2)
        >>> table = forecaster.fit([0.0, 1.0, 2.0, 1.0] * 8).sample(n=3)
        >>> table["ds"].to_pylist(), table["sample"].to_pylist()
        ([32, 33, 32, 33, 32, 33], [0, 0, 1, 1, 2, 2])
        """
        n = positive_int("n", n)
        h = self.h if h is None else positive_int("h", h)
        panel = panel_to_forecast(self._need_fit(), self._stream, h, data, futr_df, static_df)
        seed = random_seed("seed", seed)
        spread = self._spread(panel) if data is None else None
        drawn = paths(self.model, panel, h, self._backtest, n, seed, spread)
        return panel.like(path_columns(panel, self.name, drawn))

    def update(self, data: Any, *, futr_df: Any = None, learn: bool = False) -> Forecaster:
        """Go on by new rows: `predict` then forecasts from the new end of every series.

        Intervals follow their coverage: those that `predict` gave out are scored by the rows that
        fall into them, and `coverage` widens or narrows the next ones (`calibration/online.py`).
        Hidden states (of `scaling="running"`), scales and last values move on, each row at the same
        cost however long its series, and nothing is read again. `data` is a table of the kind that
        `fit` saw, with rows after the last date of each series; a dict of one row or of columns;
        or, of a single series, its next value or values. Dates that are left out and values that
        are NaN are gaps; a series that is new begins with its first value. `futr_df` has the
        covariates known ahead, for the h steps after the new rows.

        With `learn` the nets learn on, once for every 8 steps or fewer (`streaming/learning.py`);
        `losses` has the loss before each of these updates. A `DivergedError` there leaves the
        weights before it, and the rows up to there read. Several groups of members do not learn on:
        `SettingError`.

        `panel` stays what was fitted; what came after is in `state` (`models/state.py`), which
        forgets all but the last steps. Raises `DataError` naming series and date of a row that is
        late, comes twice or lies off the grid; the forecaster is then as it was.

        >>> import throughtime as tt
        >>> forecaster = tt.Forecaster(h=2, cell="rnn", members=1, n_windows=0)
        >>> forecaster = forecaster.fit([0.0, 1.0, 2.0, 1.0] * 8)
        >>> forecaster.update(0.0).update([1.0, 2.0]).predict(level=[])["ds"].to_pylist()
        [35, 36]
        """
        fitted = self._need_fit()
        if learn:
            self._spread(fitted.panel)  # by the weights that were fitted
        self._stream.update(fitted, data, futr_df, learn)
        return self

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
        given, budget = self._given, Budget(self._given.budget)
        panel = read(data, given, static_df)
        step_size = self.h if step_size is None else positive_int("step_size", step_size)
        positive_int("n_windows", n_windows)
        if not isinstance(refit, bool):
            positive_int("refit", refit)
        rolling: dict[str, Any] = {"n_windows": n_windows, "step_size": step_size, "refit": refit}
        runs = runs_of("cross_validation", checkpoint, given, panel, **rolling)
        call = Call(given, observers, runs, budget=budget)
        self._backtest, plan = roll_origins(call, panel, n_windows, step_size, level, refit)
        self._stream.spread = None
        self.treatment, self.choice = plan.treatment, plan.choice
        runs.finish()
        return panel.like(self._backtest.columns)

    def plot(
        self, level: Sequence[float] = (80, 95), series: Any = None, last: int | None = None
    ) -> Any:
        """Draw the newest values, the forecast and its intervals, as a plotly figure.

        `series` is a name or several, the first few where None; `last` how many values are shown.
        Raises `MissingExtraError` where plotly is not installed, and what `predict` raises.
        """
        newest = self._stream.newest(self._need_fit())
        return forecast_figure(
            newest, self.name, self.h, self.season_length, self.predict, level, series, last
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted forecaster to one file (safetensors with JSON), whole or not at all.

        Raises `NotFittedError` before `fit`, `SettingError` where `path` cannot be written.
        """
        fitted = self._need_fit()
        save(path, self._given, fitted, self._backtest, self._stream, self.choice)

    def _spread(self, panel: Panel) -> Spread | None:
        return self._stream.spread_of(self._need_fit(), panel, self._backtest)

    def _take(self, fitted: Fitted, backtest: Backtest | None) -> None:
        self._fitted, self._backtest = fitted, backtest
        self._stream = Stream(Coverage(self.h))

    def _need_fit(self) -> Fitted:
        if self._fitted is None:
            raise NotFittedError("a fitted forecaster", "one that is not", "call fit first")
        return self._fitted
