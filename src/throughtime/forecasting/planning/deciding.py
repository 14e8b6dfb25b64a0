"""What a forecaster leaves open, decided from the data: season, effort, transforms, scale, look-back.

season         the cycle that the panel repeats                       `series/seasons.py`
effort         size, number and training of nets                      `settings/effort.py`
transforms     each that suits the data, by turns of the members      `preprocessing/transforms.py`
look-back L    max(2 h, 3 seasons), where 3 seasons are too long max(2 h, 1 season); of 20
               series or more that are read by segments twice that, and where there is most to
               learn from 8 h; at most 512 and half of what is known
scale          of windows, and their naive base                       `scale_choice.py`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from throughtime._errors import SettingError
from throughtime.forecasting.architectures import AT_ONCE, DRAWS
from throughtime.forecasting.architectures.ar import season_lags
from throughtime.forecasting.examples.scaled import choose_residual
from throughtime.forecasting.planning.scale_choice import CANDIDATES, LEAST_SERIES, OF_LONG, choose
from throughtime.forecasting.preprocessing.residuals import RESIDUALS
from throughtime.forecasting.preprocessing.transforms import TRANSFORMS, choose_transforms
from throughtime.forecasting.pretrained.net import LONGEST, WEIGHTS, answers
from throughtime.forecasting.series.calendar import checked_calendar
from throughtime.forecasting.series.panel import Panel
from throughtime.forecasting.series.seasons import panel_season_length
from throughtime.forecasting.settings.design import Design
from throughtime.forecasting.settings.effort import (
    Effort,
    effort_for,
    noisy,
    segment_of,
    segmented,
    trained,
)
from throughtime.forecasting.settings.given import Given
from throughtime.training.outputs import COUNTS

LONGEST_CONTEXT = 512
MOST_READ = 2**22  # steps, above which the pretrained net would take longer than all else


def decide(given: Given, panel: Panel, whole: Panel) -> Design:
    """Fill in what the user left open, from nothing but this panel.

    Only whether values may be below 0 is asked of the whole: a fact about what is measured.
    Raises `SettingError` for what is given and does not go with the panel.
    """
    _refuse_misfits(given, panel)
    h, made = given.h, dict(given.design)
    known = made["season_length"] is not None
    if not known:
        made["season_length"] = panel_season_length(panel, h)
    effort = effort_for(panel, h, made["season_length"])
    if made["output"] in COUNTS:  # which cannot be shifted
        made["transforms"] = made["transforms"] or ("identity",)
        made["residual"] = made["residual"] or "level"
    if made["architecture"] == "es":  # whose smoothing is its base
        made["residual"] = made["residual"] or "level"
    if made["transforms"] is None:
        made["transforms"] = choose_transforms(whole)
    if made["calendar"] is None:
        made["calendar"] = made["architecture"] == "ar"
    m = made["season_length"]
    made["calendar"] = checked_calendar(made["calendar"], panel.frequency, m)
    settings, says_much = _scaled(panel, h, made, _contexts(made, h, panel, effort), known, effort)
    made |= settings
    made["difference"] = made["difference"] or None
    if effort.long and not says_much:
        effort = noisy(panel, h)
    made["training"] = trained(effort, made["training"])
    for name in ("hidden_size", "members", "combine"):
        made[name] = getattr(effort, name) if made[name] is None else made[name]
    free = made["architecture"] is None and made["companions"] is None and not made["preprogram"]
    made |= _architecture(made, effort)
    reads_more = panel.hist or panel.futr or made["architecture"] in DRAWS
    reads_more = reads_more or made["output"] in COUNTS
    if made["companions"] is None:  # which know nothing of covariates, and no other horizon
        made["companions"] = effort.companions and not reads_more
    may_be_tried = free and not reads_more and _steps_read(panel) <= MOST_READ
    made |= _others(made, effort, h, may_be_tried)
    made |= _read_how(made, effort)
    made["lags"] = _lags(made, longest_context(panel, h))
    return Design(h=h, **made)


def longest_context(panel: Panel, h: int) -> int:
    """Return how long a look-back that is chosen may be: half of what is known, and at most 512."""
    return min(LONGEST_CONTEXT, (int(panel.lengths.max()) - h) // 2)


def _refuse_misfits(given: Given, panel: Panel) -> None:
    made, room = given.design, int(panel.lengths.max()) - given.h
    if panel.futr and (made["architecture"], made["scaling"]) == ("recursive", "running"):
        raise SettingError(
            f"scaling='running' without columns known ahead for architecture='recursive', which "
            f"reads {' and '.join(panel.futr)} of the step after each",
            f"futr={list(panel.futr)}",
            "pass architecture='synced', or leave scaling out",
        )
    if made["architecture"] in DRAWS and panel.hist:
        raise SettingError(
            f"no hist for architecture={made['architecture']!r}, which reads every step ahead",
            f"hist={', '.join(panel.hist)}",
            "choose another architecture, or name in futr what is known ahead",
        )
    if max(made["lags"] or (), default=0) > room:
        raise SettingError(
            f"lags of at most {room}", str(list(made["lags"])), "leave out the longer"
        )
    for name in ("season_length", "context_length"):
        if made[name] is not None and made[name] > room:
            raise SettingError(
                f"{name} of at most {room}, for a horizon of {given.h} after it",
                str(made[name]),
                "shorten it or pass more history",
            )


def _contexts(made: dict[str, Any], h: int, panel: Panel, effort: Effort) -> list[int]:
    """Return a look-back to look for a scale on, and where it is read by segments a longer one."""
    if made["context_length"] is not None:
        return [made["context_length"]]
    season = made["season_length"]
    wanted = max(2 * h, 3 * season if 3 * season <= LONGEST_CONTEXT else season)
    longest = max(1, longest_context(panel, h))
    if not _segments(made, effort):
        return [min(wanted, longest)]
    if effort.horizons is None:
        return sorted({min(k * wanted, longest) for k in (1, 2)})
    L = min(max(effort.horizons * h, wanted), longest)
    return sorted({min(wanted, longest), segmented(L, season, effort.segments)})


def _scaled(
    panel: Panel,
    h: int,
    made: dict[str, Any],
    contexts: Sequence[int],
    season_is_given: bool,
    effort: Effort,
) -> tuple[dict[str, Any], bool]:
    """Return what is open of scaling and naive base, with a look-back; whether a linear map says much.

    The last look-back where that has chosen the scale, else the first.
    """
    scaling, residual = made["scaling"], made["residual"]
    first, season = TRANSFORMS[made["transforms"][0]], made["season_length"]
    enough = effort.many or len(panel.ids) >= LEAST_SERIES
    if enough and scaling != "running":  # which windows do not have
        choice = choose(
            panel,
            first,
            h,
            season,
            contexts,
            (OF_LONG if effort.long else CANDIDATES) if scaling is None else (scaling,),
            RESIDUALS if residual is None else (residual,),
            _may_differ(made, effort),
        )
        if choice is not None:
            own = {} if made["difference"] is None else {"difference": made["difference"]}
            return choice.settings | own, choice.says_much
    L = contexts[0]
    if residual is None:
        residual = choose_residual(panel, first, L, h, season, season_is_given)
    return {"scaling": scaling or "blend", "residual": residual, "context_length": L}, True


def _may_differ(made: dict[str, Any], effort: Effort) -> bool:
    """Say whether differences at a season may be read: of many series, by nets that answer at once."""
    free = made["difference"] is None and made["residual"] in (None, "season")
    at_once = made["architecture"] in (None, "direct", "segment") and not made["preprogram"]
    shiftable = made["output"] not in COUNTS and made["scaling"] != "revin"
    return effort.differences and free and at_once and shiftable


def _segments(made: dict[str, Any], effort: Effort) -> bool:
    """Say whether contexts are read by segments, with a linear skip, where that is left open."""
    at_once = made["architecture"] in (None, *AT_ONCE) and made["scaling"] != "revin"
    return effort.many and at_once and made["output"] not in COUNTS


def _architecture(made: dict[str, Any], effort: Effort) -> dict[str, Any]:
    """Return what is open of architecture and dropout; one that was asked for has no dropout."""
    architecture, dropout = made["architecture"], made["dropout"]
    if architecture is None:
        plain = made["preprogram"] or made["bidirectional"] or made["output"] in COUNTS
        architecture = "direct" if plain else effort.architecture
    if dropout is None:
        dropout = effort.dropout if architecture == effort.architecture == "segment" else 0.0
    return {"architecture": architecture, "dropout": dropout}


def _steps_read(panel: Panel) -> int:
    """Return how many steps the pretrained net would read of the newest windows."""
    return len(panel.targets) * int(panel.lengths.clip(max=LONGEST).sum())


def _others(made: dict[str, Any], effort: Effort, h: int, may_be_tried: bool) -> dict[str, Any]:
    """Return which others stand beside the nets: of few data smoothing, and the pretrained net.

    Neither for a cycle about a level, which the nets of its own tell best. Of many series the
    pretrained one, where it `may_be_tried`: a rolling origin has the last word (`trial.py`).
    """
    m = made["season_length"]
    few = made["companions"] and effort.companions and not effort.many
    alone, turns = made["scaling"] == "blend", made["residual"] == "level" and m > 1
    few = few and made["scaling"] != "running" and not (alone and turns)
    tried = may_be_tried and effort.taught is not None and not made["companions"]
    stands = (few or tried) and answers(h, m)
    return {
        "smoothing": few and alone and made["architecture"] != "es",
        "pretrained": WEIGHTS[-1] if stands else None,
        "taught": (effort.taught or 0) if stands and tried else 0,
    }


def _lags(made: dict[str, Any], longest: int) -> tuple[int, ...]:
    """Return the lags that are read beside values, none where differences are read in their place."""
    if made["lags"] is not None:
        return tuple(made["lags"])
    reads = made["architecture"] == "ar" and made["difference"] is None
    return season_lags(made["season_length"], longest) if reads else ()


def _read_how(made: dict[str, Any], effort: Effort) -> dict[str, Any]:
    """Return what is open of segments and the linear skip."""
    fits = _segments(made, effort)
    segment, skip, weighting = made["segment"], made["linear_skip"], made["weighting"]
    if segment is None:
        by_segments = fits or made["architecture"] == "segment"
        season = made["season_length"]
        segment = segment_of(made["context_length"], season, effort.segments) if by_segments else 1
    if weighting is None:
        in_units = made["architecture"] in AT_ONCE and made["output"] in ("point", "quantiles")
        weighting = effort.weighting if in_units else "window"
    if skip is None:
        skip = effort.linear_skip if fits else 0
    return {"segment": segment, "linear_skip": skip, "weighting": weighting}
