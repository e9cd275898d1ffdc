"""`llmctl bug-report`."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import typer


def bug_report(
    run: str | None = typer.Argument(None, help="A run id, its beginning, or a run folder; default: the newest."),
    output: Path | None = typer.Option(None, "--output", "-o", help="The archive; default: named after the run, here."),
    anonymous: bool = typer.Option(False, "--anonymous", help="Replace names and addresses of machines and people."),
    runs: Path | None = typer.Option(None, help="Where runs lie, besides those of the index."),
    as_json: bool = typer.Option(False, "--json", help="For machines."),
) -> None:
    """Pack what others need to see of a run into one archive, without secrets.

    Nothing is sent: look at it, then send it yourself."""
    from llmctl.workflows.bug_report import bug_report as pack

    shown = sys.stderr.isatty() and not as_json
    report = pack(
        run,
        runs=runs,
        output=output,
        anonymous=anonymous,
        tell=lambda name: typer.echo(f"... {name}", err=True) if shown else None,
    )
    if as_json:
        told = {
            "schema": 1,
            "path": str(report.path),
            "anonymous": report.anonymous,
            "ended": report.ended,
            "files": [asdict(file) for file in report.files],
        }
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    from llmctl.cli.console import table

    rows = [[file.name, file.size if not file.refused else "-", file.masked or "", _remark(file.left_out, file.refused)]
            for file in report.files]  # fmt: skip
    table(["file", "bytes", "masked", "remark"], rows)
    typer.echo(f"{report.path}: {sum(not file.refused for file in report.files)} files, readable by you alone")
    if not report.ended:
        typer.echo("the run has not ended, so its logs are still on the nodes: llmctl status, then once more")
    typer.echo(f"look at it before you send it: tar xzOf {shlex.quote(str(report.path))} | less")
    if not report.anonymous:
        typer.echo("it names your machines and accounts; --anonymous replaces them")


def _remark(left_out: int, refused: str) -> str:
    return f"not taken: it {refused}" if refused else f"{left_out} bytes of its middle left out" if left_out else ""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("bug-report")(bug_report)
