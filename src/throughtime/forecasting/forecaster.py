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
from throughtime._types import CellName
from throughtime.diagnostics import Diagnosis, Finding, GradientLog, LagProfile, Watch
from throughtime.forecasting import streaming
from throughtime.forecasting.backtest import Backtest, interval, roll, series_sizes
from throughtime.forecasting.baselines import LinearAutoregression, Naive, SeasonalNaive
from throughtime.forecasting.calendar import checked_calendar
from throughtime.forecasting.covariates import need_future, with_future
from throughtime.forecasting.cures import (
    OF_THE_NET,
    Cures,
    check_names,
    checked_preprogram,
    trained_with,
)
from throughtime.forecasting.decoders import DECODERS
from throughtime.forecasting.demands import checked_panel, windows_that_fit
from throughtime.forecasting.design import Design
from throughtime.forecasting.doctor import examined, treat
from throughtime.forecasting.examples import choose_residual
from throughtime.forecasting.fitting import count_updates, fit
from throughtime.forecasting.frame import read_frame
from throughtime.forecasting.frequency import Frequency
from throughtime.forecasting.learning import MOST_LOSSES, Learner
from throughtime.forecasting.model import Model
from throughtime.forecasting.online import Coverage
from throughtime.forecasting.panel import Panel
from throughtime.forecasting.seasons import panel_season_length
from throughtime.forecasting.state import State
from throughtime.forecasting.statics import known_static, read_static
from throughtime.forecasting.transforms import TRANSFORMS, choose_transforms
from throughtime.nn import Recurrence
from throughtime.training import Clip, History, Observer, TrainingSettings
from throughtime.training.outputs import OUTPUTS

if TYPE_CHECKING:
    from typing_extensions import Unpack

Floats = npt.NDArray[np.float64]

LONGEST_CONTEXT = 512
RECURSIVE = "recursive", "running"
LOOKS = 30  # at the gradient over time in the final fit

TRAINING = TrainingSettings(
    max_updates=200,
    batch_size=32,
    learning_rate=1e-2,
    warm_up=10,
    weight_decay=0.01,
    clip=Clip(norm=1.0),
    evaluate_every=5,
    patience=10,
    average=0.95,
)


class Forecaster:
    """Forecasts every series of a table `h` steps ahead.

    `target` names the column of values, or several that are forecast together; `hist` the covariates
    that are known up to the present, `futr` those known ahead, `calendar` what of the date is read
    ("hour", "day_of_week", ...; True chooses what varies within the frequency). `decoder` says how
    the nets answer (`decoders/`) and `output` what: a "point", "quantiles" or a distribution
    (`training.outputs`). `scaling` is what the nets read values on: "blend" of the window and its
    series, or "running", with which the states of decoder "synced" or "recursive" are carried over
    whole series (`running.py`).

    `cell` is the recurrence, "rnn", "lstm" or "gru"; `hidden_size`, `num_layers`, `dropout` make
    each of the `members` nets. `context_length` (the look-back), `season_length`, `freq` and
    `residual` ("level", "last", "season") are chosen from the data where None; `transform`
    ("identity", "sqrt", "log1p") is each of them that suits the data, by turns of the members.
    `n_windows` rolling origins (as many as the data allow) calibrate the intervals and score the
    model; 0 leaves both out. `training` says how the nets are trained, its `max_updates` being the
    most; `seed` makes a run repeatable.

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
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        members: int = 6,
        transform: str | None = None,
        residual: str | None = None,
        companions: bool | None = None,
        scaling: str = "blend",
        n_windows: int = 8,
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
        for name, value in (("context_length", context_length), ("season_length", season_length)):
            if value is not None:
                positive_int(name, value)
        self.n_windows = positive_int("n_windows", n_windows, at_least=0)
        self.freq = None if freq is None else Frequency.parse(freq)
        self.columns = {"target": target, "hist": hist, "futr": futr}
        one_of("decoder", decoder, DECODERS)
        one_of("output", output, [None, *OUTPUTS])
        given: dict[str, Any] = {n: value for n, value in cures.items() if n in OF_THE_NET}
        net = Recurrence(cell, hidden_size, num_layers, dropout, **given)
        parts = ("cell", "hidden_size", "num_layers", "dropout", *OF_THE_NET)
        self._given: dict[str, Any] = {name: getattr(net, name) for name in parts} | {
            "members": positive_int("members", members),
            "context_length": context_length,
            "season_length": season_length,
            "transforms": None if transform is None else (transform,),
            "residual": residual,
            "training": replace(
                trained_with(training, cures), seed=positive_int("seed", seed, at_least=0)
            ),
            "preprogram": checked_preprogram(cures.get("preprogram")),
            "decoder": decoder,
            "output": output or ("student-t" if decoder == "recursive" else "point"),
            "calendar": calendar,
            "companions": companions,
            "scaling": scaling,
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
        """The name of the model's column in tables: RNN, LSTM or GRU."""
        return str(self._given["cell"]).upper()

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
        warm_start: bool = False,
    ) -> Forecaster:
        """Learn from a table `unique_id, ds, y` (pandas, polars, pyarrow), a Series or an array.

        `static_df` says of every series what does not change, in numbers or categories: a table with
        `unique_id` and a column for each.
        First the rolling origins, each fitted anew on what was known there, then everything.
        `backtest` measures the coverage of intervals at `level`; `predict` may ask for others.
        With `warm_start` the final fit goes on from the weights there are, by the decisions of the
        last fit and as many updates; the table has its columns. Rolling origins begin anew, as these
        weights may know what comes after them.
        Raises `DataError` naming what does not fit, `DivergedError` where training breaks down;
        either leaves the forecaster as it was.
        """
        start = self._need_fit()[1] if warm_start else None
        panel = self._read(data, static_df, self.panel if warm_start else None)
        before = self.treatment
        try:
            if self.n_windows:
                backtest, design, updates, pilot = self._rolled(
                    panel, self.n_windows, self.h, level, True, observers, start
                )
            else:
                design, (updates, pilot) = self._piloted(panel, panel, observers, start)
                backtest = None
            watch = Watch(every=max(1, updates // LOOKS))
            model, history = fit(panel, design, updates, (*observers, watch), "final fit", start)
        except BaseException:
            self.treatment = before
            raise
        self._take(panel, model, backtest, history, pilot)
        self.log = watch.log
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
        futr_df: Any = None,
        static_df: Any = None,
        level: Sequence[float] = (80, 95),
    ) -> Any:
        """Return the next h values of every series, with intervals at `level` percent.

        A table of the kind that `fit` saw: `unique_id`, `ds`, the model's column (`LSTM`), and
        `LSTM-lo-80`, `LSTM-hi-80` for each level; with several targets `load-LSTM` and so on.
        `futr_df` has the covariates known ahead, for the h steps after every series. With `data`,
        series go on from the end of that table with the weights as they are. Raises
        `NotFittedError` before `fit`, or where intervals are asked for and no rolling origins were
        made; `DataError` naming the first date for which a covariate is missing.
        """
        fitted, model = self._need_fit()
        panel = self._newest() if data is None else read_frame(data, like=fitted)
        if static_df is not None:
            panel = replace(panel, static=read_static(static_df, panel.ids, fitted.static))
        elif data is not None and fitted.static.names:
            panel = replace(panel, static=known_static(fitted.static, fitted.ids, panel.ids))
        if futr_df is None and data is None and self._state is not None:
            futr_df = self._ahead
        if futr_df is not None:
            panel = with_future(panel, futr_df, self.h)
        need_future(panel, self.h)
        point = model.forecast(panel)
        ids, ds = panel.future(self.h)
        columns: dict[str, Any] = {"unique_id": ids, "ds": ds, self.name: point.reshape(-1)}
        if level:
            calibration = self.backtest.calibration(self.name)
            scale = self.backtest.transform  # a cross-validation may have chosen another
            sizes, coverage = series_sizes(panel, scale), self.coverage
            levels, ends = checked(level), []
            for each in levels:
                factor = coverage.factor(each)
                lo, hi = interval(calibration, scale, point, sizes, each, factor)
                ends.append((lo, hi))
                columns[f"{self.name}-lo-{each:g}"] = lo.reshape(-1)
                columns[f"{self.name}-hi-{each:g}"] = hi.reshape(-1)
            if data is None:
                self._issue(levels, ends)
        return panel.like(columns)

    def _newest(self) -> Panel:
        """Return what was fitted, or the newest part of it and of the rows since."""
        fitted, model = self._need_fit()
        if self._state is None and not model.design.carries:
            return fitted
        state = self.state
        if len(state) > len(fitted.ids) or (state.arrays["lengths"] > fitted.lengths).any():
            return state.panel
        return replace(fitted, memory=state) if model.design.carries else fitted

    def _issue(self, levels: tuple[float, ...], ends: list[tuple[Floats, Floats]]) -> None:
        """Remember intervals, to be scored by the values that `update` will bring."""
        fitted, state = self.panel, self._state
        lengths = fitted.lengths if state is None else state.arrays["lengths"]
        shape = len(levels), len(lengths), len(fitted.targets), self.h
        low, high = (np.stack(each).reshape(shape) for each in zip(*ends, strict=True))
        self.coverage.issue(levels, lengths, low, high)

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
        level: Sequence[float] = (80, 95),
        refit: bool = True,
        observers: Sequence[Observer] = (),
    ) -> Any:
        """Forecast at `n_windows` rolling origins, `step_size` apart (h where None).

        Returns a table of the kind that came in, with `cutoff`, `y`, the model's column, its
        intervals and the baselines'; `backtest` then holds it with its scores. With `refit` the
        model is fitted anew at every origin, else once, before the first. What is decided from
        the data is decided on what was known at the first origin.
        """
        panel = self._read(data)
        step_size = self.h if step_size is None else positive_int("step_size", step_size)
        positive_int("n_windows", n_windows)
        self._backtest, *_ = self._rolled(panel, n_windows, step_size, level, refit, observers)
        return panel.like(self._backtest.columns)

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
            return checked_panel(read_frame(data, like=like, static_df=static_df), self.h)
        columns: dict[str, Any] = self.columns
        panel = read_frame(data, self.freq, **columns)
        if static_df is not None:
            panel = replace(panel, static=read_static(static_df, panel.ids))
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
        refit: bool,
        observers: Sequence[Observer],
        start: Model | None = None,
    ) -> tuple[Backtest, Design, int, History]:
        """Make the rolling origins; also return what was decided at the first."""
        levels = checked(level)
        R = windows_that_fit(panel, self.h, n_windows, step_size)
        first = panel.cut(self.h + (R - 1) * step_size)
        design, (updates, pilot) = self._piloted(first, panel, observers, start)
        models: list[Model] = []

        def forecast(known: Panel, r: int) -> Floats:
            if refit or not models:
                models[:] = [fit(known, design, updates, observers, f"back-test {r + 1}/{R}")[0]]
            return models[0].forecast(known)

        season = design.season_length
        baselines = (Naive(), SeasonalNaive(season), LinearAutoregression(season=season))
        backtest = roll(
            panel,
            self.name,
            forecast,
            baselines,
            h=self.h,
            n_windows=R,
            step_size=step_size,
            season_length=season,
            transform=design.scale,
            levels=levels,
        )
        return backtest, design, updates, pilot

    def _piloted(
        self,
        panel: Panel,
        whole: Panel,
        observers: Sequence[Observer],
        start: Model | None = None,
    ) -> tuple[Design, tuple[int, History]]:
        if start is not None:  # what was decided before stays
            return start.design, (max(1, len(self.history.updates)), self.pilot)
        design = self._decide(panel, whole)
        if self.cure == "auto":
            longest = min(LONGEST_CONTEXT, (int(panel.lengths.max()) - self.h) // 2)
            design, treatment = treat(panel, design, self._chosen(), longest, observers)
            self.treatment = treatment
        return design, count_updates(panel, design, observers, "pilot")

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
        for name in ("season_length", "context_length"):
            if given[name] is not None and given[name] > room:
                raise SettingError(
                    f"{name} of at most {room}, for a horizon of {self.h} after it",
                    str(given[name]),
                    "shorten it or pass more history",
                )
        if given["season_length"] is None:
            given["season_length"] = panel_season_length(panel)
        if given["transforms"] is None:
            given["transforms"] = choose_transforms(whole)
        given["calendar"] = checked_calendar(given["calendar"], panel.frequency)
        season = given["season_length"]
        if given["context_length"] is None:
            wanted = max(2 * self.h, 3 * season if 3 * season <= LONGEST_CONTEXT else season)
            given["context_length"] = min(wanted, LONGEST_CONTEXT, max(1, room // 2))
        if given["residual"] is None:
            first = TRANSFORMS[given["transforms"][0]]
            L = given["context_length"]
            given["residual"] = choose_residual(panel, first, L, self.h, season)
        if given["companions"] is None:  # which know nothing of covariates, and no other horizon
            reads_more = panel.hist or panel.futr or given["decoder"] == "recursive"
            given["companions"] = not reads_more
        return Design(h=self.h, **given)


def checked(level: Sequence[float]) -> tuple[float, ...]:
    """Return the levels in rising order; `SettingError` for one that is not between 0 and 100."""
    return tuple(sorted({real("level", each, above=0, below=100) for each in level}))
