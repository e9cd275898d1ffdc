"""Where the logs of a report lie: a file, a run's folder, or one of the two on another machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmctl_reports.errors import ReportError
from llmctl_reports.profiles import PROFILES
from llmctl_reports.readers import IN_FOLDER, read_log
from llmctl_reports.values import Restart, RunLog

from llmctl.errors import UsageError
from llmctl.run.attempts import Attempt, read_attempts
from llmctl.run.folder import RunFolder
from llmctl.run.index import find_run
from llmctl.run.states import ENDED, State
from llmctl.workflows.far import Fetch, Moved, far_path

UNFINISHED = frozenset(State) - ENDED


@dataclass(frozen=True, kw_only=True)
class Source:
    """A log or the folder of a run."""

    path: Path
    report: Path
    """The folder of its reports, unless the user names another."""
    title: str
    far: str | None = None
    """As a person wrote it, where it was fetched from another machine to `path`."""

    @property
    def is_run(self) -> bool:
        return (self.path / "manifest.json").is_file()

    @property
    def manifest(self) -> dict[str, Any]:
        """The run's record; empty for a log."""
        return RunFolder(self.path).read_manifest() if self.is_run else {}

    def named(self, where: str) -> str:
        """A place below `path` as the user knows it."""
        return where.replace(str(self.path), self.far) if self.far else where


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How runs are read and judged. Raises UsageError for what contradicts itself."""

    reference: str | None = None
    """What they are held against: as for `find_source`."""
    noise: tuple[str, ...] = ()
    """Further runs of the reference."""
    profile: str | None = None
    """In place of that of the run's recipe."""
    runs: Path | None = None
    """The folder of the runs."""
    format_in: str | None = None
    """The format of the runs' own logs."""
    segment: int | None = None
    """Which part of the runs' own logs, where these hold several starts; from 1."""
    moved: Moved = lambda *_: None
    """Told of what comes from other machines."""

    def __post_init__(self) -> None:
        if self.noise and self.reference is None:
            raise UsageError("there is no reference to know the noise of", where="--noise", hint="--compare REF")
        if self.profile is not None and self.profile not in PROFILES:
            known = ", ".join(PROFILES)
            raise UsageError(f"no profile {self.profile!r}", where="--profile", hint=f"there are {known}")


def find_source(given: str | None, runs: Path | None, fetch: Fetch) -> Source:
    """What a person means by a run's id, its folder, a log file, or `host:path` for one that lies elsewhere; without
    any the newest run. A file here goes before another machine. Raises UsageError for what is nowhere, NodeError for a
    machine that cannot be reached."""
    if given is not None and Path(given).exists():
        path = Path(given)
        return Source(
            path=path,
            report=path / "report" if path.is_dir() else Path(f"report-{path.stem}"),
            title=path.resolve().name if path.is_dir() else path.stem,
        )
    far = far_path(given) if given is not None else None
    if far is not None:
        path = fetch(far)
        name = path.name if path.is_dir() else path.stem
        return Source(path=path, report=Path(f"report-{name}"), title=name, far=far.given)
    try:
        folder = find_run(given, runs or Path("runs"))
    except UsageError:
        if given is None or not ("/" in given or Path(given).suffix):
            raise
        hint = "give a run (llmctl ps), a run's folder, a log file, or one on another machine: HOST:PATH"
        raise UsageError("no such file", where=given, hint=hint) from None
    return Source(path=folder.root, report=folder.report, title=folder.run_id)


def read_source(source: Source, asked: Asked | None = None) -> RunLog:
    """The log, with what the run's record says of findings and restarts; read as is `asked` for the runs, of which a
    reference is none. Raises UsageError when it cannot be read."""
    manifest = source.manifest
    if manifest.get("state") in UNFINISHED and not any((source.path / name).is_file() for name in IN_FOLDER):
        raise UsageError(
            "nothing of this run is here yet",
            where=source.far or str(source.path),
            why=f"it is {manifest['state']}; its records come with the first step that is told",
            hint=f"llmctl report --watch {source.title}, or llmctl status {source.title}",
        )
    told = tuple(f"{finding['code']}: {finding['title']}" for finding in manifest.get("allowed_findings", ()))
    try:
        log = read_log(source.path, asked.format_in, asked.segment) if asked else read_log(source.path)
    except ReportError as error:
        raise UsageError(error.what, where=source.named(error.where), why=error.why, hint=error.hint) from None
    return replace(
        log,
        source=source.named(log.source),
        allowed_findings=told,
        restarts=_restarts(read_attempts(manifest)),
    )


def judged_by(source: Source, profile: str | None) -> tuple[str, dict[str, float]]:
    """The profile, and the limits of its gates that the run's recipe sets: of `profile`, without it that of the
    recipe, else seed."""
    told = source.manifest.get("judged", {})
    own = told.get("profile", "seed")
    return profile or own, told.get("gates", {}) if profile in (None, own) else {}


def reference_of(source: Source) -> str | None:
    """The reference that the run's recipe names."""
    named = source.manifest.get("reference")
    return named if isinstance(named, str) else None


def _restarts(attempts: Sequence[Attempt]) -> tuple[Restart, ...]:
    """Every attempt but the first, with what ended the one before."""
    return tuple(
        Restart(
            step=before.last_step,
            from_step=after.from_step or 0,
            reason=before.reason.replace("_", " ") if before.reason else "resumed by hand",
            node=before.node,
        )
        for before, after in pairwise(attempts)
    )
