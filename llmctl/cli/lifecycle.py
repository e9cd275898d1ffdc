"""`llmctl ps`, `status`, `logs`, `cancel`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from llmctl.cli.helping import HELP

if TYPE_CHECKING:
    from llmctl.workflows.lifecycle import RunStatus

RUNS = typer.Option(None, help="Where runs lie, besides those of the index.")
AS_JSON = typer.Option(False, "--json", help="For machines.")


def ps(
    refresh: bool = typer.Option(False, "--refresh", help="Ask the nodes of the runs that have not ended."),
    as_json: bool = AS_JSON,
    show_help: bool = HELP,  # noqa: ARG001 - its callback did the work
) -> None:
    """List runs with their last known state and its age."""
    from llmctl.run.index import entries

    errors: list[str] = []
    if refresh:
        from llmctl.cli.watching import PlainWatcher
        from llmctl.workflows.lifecycle import refresh as ask

        errors = [str(outcome.error) for outcome in ask(entries(), PlainWatcher()) if outcome.error]
    now = time.time()
    rows = [
        {"run": e.run_id, "state": str(e.state), "age_seconds": round(now - e.updated), "nodes": list(e.nodes),
         "folder": e.path}
        for e in entries()
    ]  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif rows:
        wide = max(len(row["run"]) for row in rows)  # type: ignore[arg-type]
        typer.echo(f"{'run':<{wide}}  {'state':<9}  {'age':>8}  nodes")
        for row in rows:
            nodes: Any = row["nodes"]
            age = _age(row["age_seconds"])  # type: ignore[arg-type]
            typer.echo(f"{row['run']:<{wide}}  {row['state']:<9}  {age:>8}  {','.join(nodes)}")
    else:
        typer.echo("no runs yet; try: llmctl run quickstart")
    for error in errors:
        typer.echo(f"llmctl: {error}", err=True)
    if errors:
        raise typer.Exit(5)


def status(
    run: str | None = typer.Argument(None, help="A run id, its beginning, or a run folder; default: the newest."),
    runs: Path | None = RUNS,
    as_json: bool = AS_JSON,
) -> None:
    """Ask the nodes how a run stands.

    A run that has ended meanwhile is collected."""
    from llmctl.cli.watching import PlainWatcher
    from llmctl.workflows.lifecycle import status as ask

    asked = ask(run, runs=runs, watcher=PlainWatcher())
    if as_json:
        typer.echo(json.dumps(_plain(asked), ensure_ascii=False, indent=2))
    else:
        _show(asked)
    for error in asked.errors.values():
        typer.echo(f"llmctl: {error}", err=True)
    if asked.errors:
        raise typer.Exit(5)


def logs(
    run: str | None = typer.Argument(None, help="A run id, its beginning, or a run folder; default: the newest."),
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on until the run has ended."),
    node: str | None = typer.Option(None, help="Of this node only."),
    rank: int | None = typer.Option(None, help="Of this global rank only."),
    grep: str | None = typer.Option(None, metavar="RE", help="Lines that this regular expression finds."),
    runs: Path | None = RUNS,
) -> None:
    """Print a run's logs, each line with its node and rank."""
    from llmctl.workflows.lifecycle import LogFilter
    from llmctl.workflows.lifecycle import logs as read

    wanted = LogFilter(node=node, rank=rank, pattern=grep)
    errors = read(
        run, runs=runs, wanted=wanted, follow=follow, tell=lambda label, line: typer.echo(f"[{label}] {line}")
    )
    for error in errors.values():
        typer.echo(f"llmctl: {error}", err=True)
    if errors:
        raise typer.Exit(5)


def cancel(
    run: str = typer.Argument(help="A run id, its beginning, or a run folder."), runs: Path | None = RUNS
) -> None:
    """End a run on all its nodes, and nothing else there."""
    from llmctl.cli.watching import PlainWatcher
    from llmctl.workflows.lifecycle import cancel as end

    folder, outcomes = end(run, runs=runs, watcher=PlainWatcher())
    for outcome in outcomes:
        told = f"{outcome.value} processes ended" if outcome.error is None else str(outcome.error)
        typer.echo(f"{outcome.item}: {told}", err=outcome.error is not None)
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(5)
    typer.echo(f"cancelled {folder.run_id}; continue it with: llmctl run --resume {folder.run_id}")


def _show(asked: RunStatus) -> None:
    from llmctl.cli.console import table
    from llmctl.cli.failing import show_failure
    from llmctl.cli.watching import progress_line

    typer.echo(f"{asked.folder.run_id}: {asked.state}")
    if asked.progress.total_steps:
        typer.echo(progress_line(asked.progress))
    rows = []
    for name, report in asked.reports.items():
        beat = "-" if report.heartbeat is None else _age(max(0.0, report.clock - report.heartbeat))
        code = "-" if report.exit_code is None else report.exit_code
        rows.append([name, report.state or "no supervisor", code, beat])
    table(["node", "state", "exit code", "heard"], rows)
    if asked.failure is not None:
        show_failure(asked.failure)
    typer.echo(f"records: {asked.folder.root}\nweights: {asked.manifest['output']}")


def _plain(asked: RunStatus) -> dict[str, Any]:
    return {
        "run": asked.folder.run_id,
        "state": str(asked.state),
        "folder": str(asked.folder.root),
        "output": asked.manifest["output"],
        "step": asked.progress.step,
        "total_steps": asked.progress.total_steps,
        "loss": asked.progress.loss,
        "tokens_per_second": asked.progress.tokens_per_second,
        "nodes": [
            {"node": name, "state": report.state, "exit_code": report.exit_code, "heartbeat": report.heartbeat}
            for name, report in asked.reports.items()
        ],
        "errors": {name: str(error) for name, error in asked.errors.items()},
        "failure": vars(asked.failure) if asked.failure else None,
    }


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(add_help_option=False)(ps)
    for command in (status, logs, cancel):
        app.command()(command)
