"""`llmctl report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from llmctl.workflows.many import ManyReport
    from llmctl.workflows.report import Report
    from llmctl.workflows.report_sources import Asked


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("report")(report)


def report(
    given: list[str] | None = typer.Argument(
        None,
        metavar="[RUN|LOG]...",
        help="A run, its folder, any training log, or HOST:PATH of one elsewhere; without it the newest run. "
        "Several make one table.",
    ),
    compare: str | None = typer.Option(None, "--compare", metavar="REF", help="A run or log to hold it against."),
    formats: str = typer.Option(
        "",
        "--format",
        metavar="LIST",
        help="Some of html,md,json,csv,png,summary; json or summary alone goes to standard output.",
    ),
    output: Path | None = typer.Option(None, "-o", "--output", help="A folder, or a file for one format."),
    profile: str | None = typer.Option(
        None,
        "--profile",
        metavar="NAME",
        help="Its judge: seed, mindformers, mindspeed-ci, megatron or exact.",
    ),
    noise: list[str] = typer.Option([], "--noise", metavar="REF2", help="A further run of the reference; repeatable."),
    format_in: str | None = typer.Option(None, "--format-in", metavar="NAME", help="The format of the run's log."),
    segment: int | None = typer.Option(
        None, "--segment", metavar="N", min=1, help="The Nth start in a run's log that holds several."
    ),
    watch: bool = typer.Option(False, "--watch", "-w", help="Again whenever the log has grown, until the run ends."),
    explain: bool = typer.Option(False, "--explain", help="Tell how the logs were read; write nothing."),
    check_table: Path | None = typer.Option(
        None, "--check-table", metavar="FILE", help="Check the arithmetic of the throughput tables in a Markdown file."
    ),
    per_device: float | None = typer.Option(
        None, "--per-device", metavar="TOKENS", help="With --check-table: sequence length / devices of its rows."
    ),
    lang: str = typer.Option("en", "--lang", metavar="LIST", help="en, zh or both."),
    as_json: bool = typer.Option(False, "--json", help="For machines: as --format json, on standard output."),
    runs: Path | None = typer.Option(None, "--runs", envvar="LLMCTL_RUNS", help="The folder of the runs."),
) -> None:
    """Turn a run's log into tables and pictures, and hold it against a reference."""
    from llmctl.cli.report_shown import finish
    from llmctl.errors import UsageError
    from llmctl.workflows.report_files import chosen_formats, chosen_languages
    from llmctl.workflows.report_sources import Asked

    if check_table is not None:
        _check_table(check_table, per_device)
        return
    if as_json and (formats or output):
        raise UsageError("--json goes to standard output alone", hint="--format json -o FILE")
    wanted, languages = chosen_formats("json" if as_json else formats, output), chosen_languages(lang)
    asked = Asked(
        reference=compare, noise=tuple(noise), profile=profile, runs=runs, format_in=format_in, segment=segment
    )
    made = _watched(given or [], asked, languages[0]) if watch else _made(given or [], asked)
    if made is None:
        return
    if explain:
        typer.echo("\n".join(made.explained))
        return
    finish(made, formats=wanted, languages=languages, output=output)


def _made(given: list[str], asked: Asked) -> Report | ManyReport:
    from dataclasses import replace

    from llmctl.cli.patience import Patience
    from llmctl.workflows.many import report_many
    from llmctl.workflows.report import make_report

    with Patience("reading") as patience:
        asked = replace(asked, moved=patience.moved)
        if len(given) > 1:
            return report_many(given, asked)
        return make_report(given[0] if given else None, asked)


def _watched(given: list[str], asked: Asked, lang: str) -> Report | None:
    from llmctl.cli.report_watch import watch
    from llmctl.errors import UsageError
    from llmctl.workflows.report_watch import watched

    if len(given) > 1:
        raise UsageError("--watch shows the report on one run", hint=f"llmctl report --watch {given[0]}")
    return watch(watched(given[0] if given else None, asked), lang)


def _check_table(path: Path, per_device: float | None) -> None:
    from llmctl.workflows.report import check_table

    rows, slips = check_table(path, per_device)
    for slip in slips:
        typer.echo(f"{path}:{slip.row.line}: {slip.what}")
    typer.echo(f"{rows} rows, {len(slips)} of them do not add up")
    raise typer.Exit(1 if slips else 0)
