"""`llmctl report`."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("report")(report)


def report(
    run: str | None = typer.Argument(
        None, metavar="RUN|LOG", help="A run, its folder, or any training log; without it the newest run."
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
    explain: bool = typer.Option(False, "--explain", help="Tell how the logs were read; write nothing."),
    check_table: Path | None = typer.Option(
        None, "--check-table", metavar="FILE", help="Check the arithmetic of the throughput tables in a Markdown file."
    ),
    per_device: float | None = typer.Option(
        None, "--per-device", metavar="TOKENS", help="With --check-table: sequence length / devices of its rows."
    ),
    lang: str = typer.Option("en", "--lang", metavar="LIST", help="en, zh or both."),
    runs: Path | None = typer.Option(None, "--runs", envvar="LLMCTL_RUNS", help="The folder of the runs."),
) -> None:
    """Turn a run's log into tables and pictures, and hold it against a reference."""
    from llmctl.workflows.report import make_report
    from llmctl.workflows.report_files import chosen_formats, chosen_languages, write_report

    if check_table is not None:
        _check_table(check_table, per_device)
        return
    wanted = chosen_formats(formats, output)
    languages = chosen_languages(lang)
    made = make_report(run, compare, runs, profile=profile, noise=noise, format_in=format_in)
    if explain:
        typer.echo("\n".join(made.explained))
        return
    if wanted == ("json",) and output is None:
        typer.echo(made.json, nl=False)
        raise typer.Exit(int(made.exit_code))
    if wanted == ("summary",) and output is None:
        typer.echo("\n".join(made.summary(language) for language in languages), nl=False)
        raise typer.Exit(int(made.exit_code))
    paths = write_report(made, formats=wanted, languages=languages, output=output)
    from llmctl.cli.console import table

    for each in made.tables(languages[0]):
        table(each.headings, each.rows)
    typer.echo(f"loss {made.curve}")
    for line in [*made.errors(languages[0]), made.verdict]:
        if line:
            typer.echo(line)
    dropped = ", ".join(f"{count} x {reason}" for reason, count in made.run.dropped.items())
    if dropped:
        typer.echo(f"left out of the run's log: {dropped}")
    if made.suggested:
        typer.echo(f"not compared; the recipe names a reference: llmctl report --compare {made.suggested}")
    typer.echo(f"report: {paths[0]}")
    raise typer.Exit(int(made.exit_code))


def _check_table(path: Path, per_device: float | None) -> None:
    from llmctl.workflows.report import check_table

    rows, slips = check_table(path, per_device)
    for slip in slips:
        typer.echo(f"{path}:{slip.row.line}: {slip.what}")
    typer.echo(f"{rows} rows, {len(slips)} of them do not add up")
    raise typer.Exit(1 if slips else 0)
