"""One HTML file that says what was forecast, how well it did, and how the net learnt it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from throughtime._words import aligned, count, number, percent
from throughtime.drawing import forecasts
from throughtime.drawing.doctor import pictures
from throughtime.drawing.learning import learning_curve
from throughtime.forecasting.evaluation.views import best
from throughtime.interfaces.doctor_page import doctor_sections, drawn
from throughtime.interfaces.document import document, figure, headline, reproduce
from throughtime.interfaces.tuning_page import drawn as tuning_drawn
from throughtime.interfaces.tuning_page import tuning_section

if TYPE_CHECKING:
    from throughtime.drawing.forecasts import View
    from throughtime.interfaces.report import ReportData


def render(data: ReportData) -> str:
    """Return the report as one HTML page.

    Raises MissingExtraError where plotly is not installed.
    """
    checkup = pictures(data.diagnosis)
    body = (
        headline("Forecast report", f"{data.source}, {count(data.h, data.step)} ahead", data),
        _forecast_section(data),
        _backtest_section(data),
        _learning_section(data),
        tuning_section(data.tuning) if data.tuning else "",
        doctor_sections(data.diagnosis, checkup, {"reach": data.reach}, folded=True),
        _settings_section(data),
    )
    title = f"{data.source}: forecast of {count(data.h, data.step)}"
    figures = _drawn(data) | (tuning_drawn(data.tuning) if data.tuning else {}) | drawn(checkup)
    return document(title, "\n".join(body), figures, data)


def _drawn(data: ReportData) -> dict[str, list[Any]]:
    """Return all figures by the id of their place; several where a series can be chosen."""
    rival = _rival(data)
    several = {
        "forecast": [
            forecasts.forecast(view, data.model, forecasts.close_up(data.h, data.season_length))
            for view in data.views
        ],
        "backtest": [
            forecasts.backtest(view.origins, data.model, rival)
            for view in data.views
            if view.origins
        ],
        "learning": [learning_curve(data.learning, data.pilot)],
    }
    return {place: [f.to_plotly_json() for f in made] for place, made in several.items()}


def _rival(data: ReportData) -> str | None:
    return best([score for score in data.scores if score.model != data.model], "mae")


def _forecast_section(data: ReportData) -> str:
    chooser = ""
    if len(data.views) > 1:
        options = "".join(
            f'<option value="{k}">{escape(view.name)}</option>' for k, view in enumerate(data.views)
        )
        note = (
            f" first {len(data.views)} of {data.n_series:,}"
            if data.n_series > len(data.views)
            else ""
        )
        chooser = (
            f'<label for="series">Series</label> <select id="series">{options}</select> {note}'
        )
    if any(len(view.ds) > forecasts.close_up(data.h, data.season_length) for view in data.views):
        chooser += '<label><input type="checkbox" id="whole"> whole history</label>'
    if chooser:
        chooser = f'<p class="chooser">{chooser}</p>'
    levels = " and ".join(f"{level:g}%" for level in sorted(data.level))
    caption = (
        f"Observed values, then the {escape(data.model)}'s forecast of {count(data.h, data.step)}"
        + (f", with its {levels} prediction intervals shaded." if data.level else ".")
    )
    tables = "".join(_forecast_table(data, view, k) for k, view in enumerate(data.views))
    return f"""<section>
<h2>The forecast</h2>
{chooser}{figure("forecast", caption)}
{tables}
</section>"""


def _forecast_table(data: ReportData, view: View, k: int) -> str:
    levels = sorted(view.bands)
    heads = "".join(f'<th scope="col" colspan="2">{level:g}% interval</th>' for level in levels)
    columns = [view.forecast, *(side for level in levels for side in view.bands[level])]
    written = aligned(value for column in columns for value in column)
    steps = len(view.forecast_ds)
    rows = [
        f'<tr><th scope="row">{escape(str(ds))}</th>'
        + "".join(f"<td>{cell}</td>" for cell in written[step::steps])
        + "</tr>"
        for step, ds in enumerate(view.forecast_ds)
    ]
    hidden = " hidden" if k else ""
    return f"""<details class="of-series"{hidden}>
<summary>The forecast in numbers: {escape(view.name)}</summary>
<div class="scroll"><table>
<thead><tr><th scope="col">Date</th><th scope="col">{escape(data.model)}</th>{heads}</tr></thead>
<tbody>{"".join(rows)}</tbody>
</table></div></details>"""


def _backtest_section(data: ReportData) -> str:
    origins = max((len(view.origins) for view in data.views), default=0)
    some = (
        f" Origins overlap, so the figure shows {origins} of {data.n_windows}."
        if 0 < origins < data.n_windows
        else ""
    )
    caption = (
        f"What was forecast at each origin (dotted verticals) from the past alone, beside what then "
        f"came. More baselines appear when their names are chosen.{some}"
    )
    drawing = figure("backtest", caption) if origins else ""
    return f"""<section>
<h2>How well it did before</h2>
<p>At each of {count(data.n_windows, "rolling origin")} all that came later was hidden, and every model forecast the
next {count(data.h, data.step)}.</p>
{_score_table(data)}
{drawing}
</section>"""


def _score_table(data: ReportData) -> str:
    levels = sorted({level for score in data.scores for level in score.coverage})
    measures = (("mae", "MAE"), ("mase", "MASE"), ("smape", "sMAPE"))
    winners = {measure: best(data.scores, measure) for measure, _ in measures}
    heads = "".join(f'<th scope="col">{title}</th>' for _, title in measures)
    heads += "".join(f'<th scope="col">In {level:g}%</th>' for level in levels)
    rows = []
    for score in data.scores:
        cells = ""
        for measure, _ in measures:
            shown = number(getattr(score, measure))
            won = winners[measure] == score.model
            cells += f"<td><strong>{shown}</strong></td>" if won else f"<td>{shown}</td>"
        cells += "".join(f"<td>{percent(score.coverage.get(level))}</td>" for level in levels)
        ours = ' class="ours"' if score.model == data.model else ""
        rows.append(f'<tr{ours}><th scope="row">{escape(score.model)}</th>{cells}</tr>')
    coverage = (
        "; the last columns count how many values fell into intervals that should hold "
        + " and ".join(f"{level:g}%" for level in levels)
        + " of them"
        if levels
        else ""
    )
    return f"""<p class="caption" id="scores">Errors over all origins, lower is better, the best in
bold{coverage}.</p>
<div class="scroll"><table class="scores" aria-labelledby="scores">
<thead><tr><th scope="col">Model</th>{heads}</tr></thead>
<tbody>{"".join(rows)}</tbody>
</table></div>"""


def _learning_section(data: ReportData) -> str:
    made, pilot = data.learning, data.pilot
    final = f"The final fit learnt from all rows in {count(len(made.losses), 'update')}."
    words = final
    if pilot is not None:
        looked = (
            f"; on the later rows, held out, its loss was lowest after update {pilot.best_index}"
            if pilot.best_index is not None
            else ""
        )
        reason = f" ({escape(pilot.reason.rstrip('.'))})" if pilot.reason else ""
        words = (
            f"A pilot run of {count(len(pilot.losses), 'update')}{reason} learnt from the earlier "
            f"rows{looked}. {final}"
        )
    if data.groups:
        words = f"Of {len(data.groups)} groups of nets, the first: {words[0].lower()}{words[1:]}"
    return f"""<section>
<h2>How it learnt</h2>
{figure("learning", words)}
</section>"""


def _settings_section(data: ReportData) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(_label(name))}</th><td>{escape(_setting(value))}</td></tr>'
        for name, value in data.settings.items()
    )
    return f"""<section>
<h2>Settings, and how to reproduce this</h2>
{reproduce(data.command)}
{_groups_table(data) if data.groups else ""}
<div class="scroll"><table class="settings"><caption>Settings of the model{", that all groups share" if data.groups else ""}.</caption>
<tbody>{rows}<tr><th scope="row">throughtime</th><td>{escape(data.version)}</td></tr></tbody></table></div>
</section>"""


def _groups_table(data: ReportData) -> str:
    heads = "".join(f'<th scope="col">{escape(_label(name))}</th>' for name in data.groups[0])
    rows = "".join(
        f'<tr><th scope="row">{g}</th>'
        + "".join(f"<td>{escape(_setting(value))}</td>" for value in group.values())
        + "</tr>"
        for g, group in enumerate(data.groups, 1)
    )
    return f"""<div class="scroll"><table class="groups">
<caption>What its groups of nets differ in; the curves and the doctor are those of the first.</caption>
<thead><tr><th scope="col">Group</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"""


def _label(name: str) -> str:
    return name.replace("_", " ")


def _setting(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_setting, value))
    return str(value)
