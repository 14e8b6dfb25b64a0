"""The command `throughtime`: from a file of dates and values to forecasts one may judge.

What is read and what is under way goes to stderr; tables go to stdout, or JSON with `--json`.
Exit codes: 0 done; 2 a file or an option is not what is needed (one sentence on stderr); 130
stopped from the keyboard. Nothing heavy is imported before it is needed: `--help` answers at once,
and so do mistakes.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

import throughtime
from throughtime._errors import ThroughtimeError
from throughtime.interfaces.options import NUMBER, WHOLE, Options, parted
from throughtime.interfaces.taking import Given, takes
from throughtime.interfaces.words import as_options

app = typer.Typer(
    name="throughtime",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

OF_A_MODEL = (
    *("level", "context_length", "init", "clip", "preprogram", "nonlinearity", "zoneout"),
    *("recurrent_dropout", "layer_norm", "budget"),
    *("members", "contexts", "architectures", "combine"),
)

NoReport = Annotated[bool, typer.Option("--no-report", help="Write no report.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print one line at the end.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"throughtime {throughtime.__version__}")
        raise typer.Exit


@app.callback()
def _throughtime(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Forecast time series with recurrent networks, and see how well they do."""


@app.command()
@takes()
def forecast(
    given: Given,
    *,
    out: Annotated[
        str | None,
        typer.Option(help="Where the forecast goes, as CSV or .parquet.  [<name>-forecast.csv]"),
    ] = None,
    report: Annotated[
        str | None, typer.Option(help="Where the report goes, as HTML.  [<name>-report.html]")
    ] = None,
    no_report: NoReport = False,
    save: Annotated[str | None, typer.Option(help="Where the fitted model goes.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Forecast FILE, with a back-test against simple forecasts, and write a report."""
    from throughtime.interfaces import talk, tasks

    options = Options(**given)
    places = tasks.Places(options, out=out, report=report, no_report=no_report, save=save)
    tasks.forecast(options, places, talk.Talk(json=json, quiet=quiet))


@app.command()
@takes(without=["future"])
def backtest(
    given: Given,
    *,
    out: Annotated[
        str | None,
        typer.Option(help="Where every forecast of the back-test goes, as CSV or .parquet."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare the model with simple forecasts on the past of FILE, and forecast nothing."""
    from throughtime.interfaces import talk, tasks

    tasks.backtest(Options(**given), out, talk.Talk(json=json, quiet=quiet))


@app.command()
@takes(without=["file", "future", "level", "windows"])
def diagnose(
    given: Given,
    *,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] FILE",
            help="A table as for forecast; before it, a model that forecast --save wrote.",
            show_default=False,
        ),
    ],
    h: Annotated[
        int | None,
        typer.Option("--h", "--horizon", help="How many steps to forecast.  [one season]", **WHOLE),
    ] = None,
    report: Annotated[
        str | None, typer.Option(help="Where the report goes, as HTML.  [<name>-diagnosis.html]")
    ] = None,
    no_report: NoReport = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a model to FILE, or load MODEL, and say how gradients travel through it and what to do."""
    from throughtime.interfaces import checkup, talk, tasks

    options = Options(file=files[-1], h=1 if h is None else h, **given)
    model, _ = checkup.files(files, {name: (given | {"h": h})[name] for name in given.told})
    place, hint = tasks.report_place(report, f"{options.stem}-diagnosis.html", no_report)
    checkup.diagnose(options, model, h is not None, place, hint, talk.Talk(json=json, quiet=quiet))


@app.command()
@takes(without=["future", *OF_A_MODEL])
def tune(
    given: Given,
    *,
    cell: Annotated[
        str, typer.Option(help="The recurrent cells to compare, parted by commas.")
    ] = "lstm,gru,rnn",
    windows: Annotated[
        int, typer.Option(help="How many rolling origins judge each trial.", **WHOLE)
    ] = 3,
    trials: Annotated[int, typer.Option(help="How many settings are tried, in all.", **WHOLE)] = 30,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which no trial begins.", **NUMBER)
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="An SQLite file that keeps the trials: the same command goes on there."),
    ] = None,
    name: Annotated[
        str, typer.Option(help="What the search is called in its storage.")
    ] = "throughtime",
    report: Annotated[
        str | None, typer.Option(help="Where the report goes, as HTML.  [<name>-settings.html]")
    ] = None,
    no_report: NoReport = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search for the settings that forecast FILE best, and say which cell does."""
    from throughtime.interfaces import searching, talk, tasks

    options = Options(windows=windows, **given)
    among = searching.cells(cell)
    place, hint = tasks.report_place(report, f"{options.stem}-settings.html", no_report)
    searching.tune(
        *(options, among, trials, timeout, storage, name, place, hint),
        talk.Talk(json=json, quiet=quiet),
    )


@app.command()
@takes(only=["time", "id", "freq", "season"])
def evaluate(
    given: Given,
    *,
    file: Annotated[
        str,
        typer.Argument(
            help="A CSV or Parquet file, '-' for standard input, with columns unique_id, ds, cutoff, "
            "y and forecasts, as backtest --out and forecast write it."
        ),
    ],
    actuals: Annotated[
        str | None, typer.Option(help="A file of the values that came.  [FILE]", metavar="FILE")
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(help="A file of the past, for MASE, RMSSE, OWA and MSIS.", metavar="FILE"),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The column of values; found where not given.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Score each of these by itself: unique_id, horizon, cutoff, or another column.",
            metavar="COLUMN,...",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Which scores; all that the files allow without.", metavar="NAME,..."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Which forecasts; all columns without.", metavar="COLUMN,..."),
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Which prediction intervals, in per cent; all without.")
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="The forecast that the OWA compares with.")
    ] = "SeasonalNaive",
    out: Annotated[
        str | None, typer.Option(help="Where the scores go, as CSV or .parquet.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score the forecasts in FILE by the values that came."""
    from throughtime.interfaces import scoring, talk

    wanted = scoring.Scoring(
        file,
        actuals,
        train,
        target=target,
        by=parted(by),
        metrics=parted(metrics),
        models=parted(models),
        level=level,
        baseline=baseline,
        **given,
    )
    scoring.evaluate(wanted, out, talk.Talk(json=json, quiet=quiet))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        code = app(args=arguments, prog_name="throughtime", standalone_mode=False)
        sys.stdout.flush()
    except ThroughtimeError as error:
        return _refuse(as_options(str(error)))
    except typer.Abort:
        return _stopped()
    except KeyboardInterrupt:
        return _stopped()
    except BrokenPipeError:
        # the reader has gone: whatever is still in the buffer has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except _UsageError as error:
        return _refuse_usage(error)
    # some releases of typer turn an interrupt into this code, silently
    return _stopped() if code == 130 else int(code or 0)


# typer carries its own copy of click or imports click's; its errors lead to whichever it is
_UsageError: Any = typer.BadParameter.__mro__[1]


def _refuse_usage(error: Any) -> int:
    message = str(error.format_message())
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message)
        return 2
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "throughtime"
    return _refuse(f"{message.rstrip('.')}; see {command} --help.")


def _refuse(sentence: str) -> int:
    typer.echo(f"throughtime: error: {sentence}", err=True)
    return 2


def _stopped() -> int:
    typer.echo("throughtime: stopped", err=True)
    return 130
