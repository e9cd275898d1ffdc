"""Which runs there are, from any folder: `$LLMCTL_HOME/runs.json`. Standard library only, so that `ps` is quick."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from llmctl.errors import UsageError
from llmctl.resources import home_dir
from llmctl.run.folder import RunFolder, write_json
from llmctl.run.states import State


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """One run, as last heard of."""

    run_id: str
    path: str
    state: State
    updated: float
    """Unix seconds of that hearing."""
    nodes: tuple[str, ...]

    @property
    def folder(self) -> RunFolder:
        return RunFolder(Path(self.path))


def record(folder: RunFolder, state: State, nodes: tuple[str, ...]) -> None:
    """Note a run's state in the index."""
    entry = IndexEntry(run_id=folder.run_id, path=str(folder.root), state=state, updated=time.time(), nodes=nodes)
    with _locked() as path:
        known = _read(path)
        known[entry.run_id] = entry
        write_json(path, {name: asdict(each) for name, each in known.items()})


def forget_gone() -> None:
    """Drop the runs whose folder is there no more."""
    with _locked() as path:
        known = _read(path)
        write_json(path, {name: asdict(each) for name, each in known.items() if Path(each.path).is_dir()})


def entries() -> list[IndexEntry]:
    """All runs whose folder is still there, the newest last."""
    known = _read(home_dir() / "runs.json")
    return sorted((e for e in known.values() if Path(e.path).is_dir()), key=lambda entry: _when(entry.run_id))


def runs_folder(given: Path | None) -> Path:
    """Where runs lie: `--runs`, else `LLMCTL_RUNS`, else `runs` in the current folder."""
    return (given or Path(os.environ.get("LLMCTL_RUNS") or "runs")).absolute()


def find_run(given: str | None, runs: Path | None = None) -> RunFolder:
    """The run that a person means: a folder, an id, the beginning of one id, or without any the newest run.

    Raises UsageError when there is none or more than one."""
    if given and (Path(given) / "manifest.json").is_file():
        return RunFolder(Path(given).resolve())
    known = {entry.run_id: entry.folder for entry in entries()}
    if runs is not None and runs.is_dir():
        known |= {path.parent.name: RunFolder(path.parent.resolve()) for path in runs.glob("*/manifest.json")}
    if not known:
        raise UsageError("there is no run yet", hint="llmctl run quickstart")
    if given is None:
        return known[max(known, key=_when)]
    if given in known:
        return known[given]
    matches = [name for name in known if name.startswith(given)]
    if len(matches) == 1:
        return known[matches[0]]
    raise UsageError(
        f"{len(matches)} runs begin with {given!r}" if matches else f"no run {given!r}",
        why=f"{', '.join(sorted(matches)[:5])}" if matches else "",
        hint="llmctl ps",
    )


def _when(run_id: str) -> str:
    """The part of a run id that is its time; asking about a run does not make it the newest."""
    return run_id[-len("YYYYMMDD-HHMMSS-abcd") :]


@contextmanager
def _locked() -> Iterator[Path]:
    path = home_dir() / "runs.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.with_suffix(".lock").touch(mode=0o600)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path


def _read(path: Path) -> dict[str, IndexEntry]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: IndexEntry(**(entry | {"state": State(entry["state"]), "nodes": tuple(entry["nodes"])}))
            for name, entry in known.items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            "the index of runs cannot be read",
            where=str(path),
            why=str(error),
            hint=f"move it away: mv {path} {path}.old",
        ) from None
