"""A log or a run's folder on another machine, `host:path`, brought here for as long as it is read."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from llmctl_reports.readers import IN_FOLDER

from llmctl.errors import NodeError, UsageError
from llmctl.quoting import sh_quote
from llmctl.recipe.hosts import Node, parse_nodes
from llmctl.workflows.beside import CONFIGS

if TYPE_CHECKING:
    from llmctl.remote.ssh import SshTransport
    from llmctl.remote.transport import Transport

MOST = 2 << 30
"""Bytes that are fetched for one report."""
RESULTS = ("all_results.json", "train_results.json")
"""Files beside a log that its readers look into."""
OF_RUN = ("manifest.json", "recipe.yaml")
"""Files of a run's folder that a report looks into, besides its log."""
FACTS = "env/*.json"
EVENTS = tuple("*/" * level + "events.out.tfevents.*" for level in range(4))
MANY = re.compile(r"env/[^/]+\.json|(?:(?!\.)[^/]+/){0,3}events\.out\.tfevents\.[^/]+")
"""A folder's further files: facts of nodes, and TensorBoard's event files as deep as their reader looks."""

_FAR = re.compile(
    r"(?P<node>(?:[\w.-]+@)?[A-Za-z0-9][\w.-]*(?:=(?:\[[0-9A-Fa-f:]+\]|[\w.-]+))?(?::[0-9]+(?=:))?):(?P<path>.+)",
    re.ASCII | re.DOTALL,
)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True, kw_only=True)
class FarPath:
    """A place on another machine."""

    node: Node
    path: str
    """Absolute, relative to the home folder there, or `~/...`."""
    given: str
    """As a person wrote it."""


Fetch = Callable[[FarPath], Path]
"""Brings it here and gives the copy: a file, or a folder with what a report reads of it."""
Moved = Callable[[FarPath, int, int], None]
"""Told of the bytes that have come, and of how many there are."""


def far_path(given: str) -> FarPath | None:
    """The place that `[user@]name[=address][:port]:path` names; None for anything else, such as a drive's letter
    (`C:\\logs`), a URL, or a path whose colon stands behind a slash (`./a:b`)."""
    match = _FAR.fullmatch(given)
    if match is None or _DRIVE.match(given) or match["path"].startswith("//"):
        return None
    (node,) = parse_nodes([match["node"]])
    return FarPath(node=node, path=match["path"], given=given)


@contextmanager
def fetching(moved: Moved = lambda *_: None) -> Iterator[Fetch]:
    """What fetches; one connection a machine, and nothing of the copies is left at the end.

    It raises UsageError for a path that is not there, cannot be read or is larger than MOST, and NodeError when the
    machine cannot be reached; each names machine and path."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmctl-report-")))
        opened: dict[Node, SshTransport] = {}

        def fetch(far: FarPath) -> Path:
            from llmctl.remote.connect import connect  # paramiko: most reports need none

            try:
                if far.node not in opened:
                    opened[far.node] = connect(far.node)
                    stack.callback(opened[far.node].close)
                return _fetch(opened[far.node], far, Path(tempfile.mkdtemp(dir=folder)), moved)
            except NodeError as error:
                whys = [error.why, *([] if far.path[0] in "/~" else [f"a file of this machine is ./{far.given}"])]
                raise type(error)(
                    error.what, where=far.given, why="; ".join(filter(None, whys)), hint=error.hint
                ) from None

        yield fetch


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What lies at a place that is asked for: its folder, and the files below that a report reads, with their bytes."""

    folder: PurePosixPath
    file: str | None
    """The file itself; None where the place is a folder."""
    sizes: dict[str, int]


def _fetch(transport: SshTransport, far: FarPath, folder: Path, moved: Moved) -> Path:
    found = _look(transport, far)
    logs = [name for name in IN_FOLDER if name in found.sizes] if found.file is None else []
    spare = {name for name in logs[1:] if PurePosixPath(name).name not in RESULTS}
    spare |= {name for name in found.sizes if logs and found.file is None and "tfevents" in name}
    sizes = {name: size for name, size in found.sizes.items() if name not in spare}
    total = sum(sizes.values())
    if total > MOST:
        raise UsageError(
            f"{total / 1e9:.1f} GB are too much to fetch for a report",
            where=far.given,
            why=f"at most {MOST / 1e9:.1f} GB are",
            hint=f"make the report there, or copy the log: scp {sh_quote(far.given)} .",
        )
    copy = folder / (found.folder.name if found.folder.name not in ("", "..") else "root")
    copy.mkdir()
    done = 0
    for name, size in sizes.items():
        transport.get(str(found.folder / name), copy / name, moved=partial(_count, moved, far, done, total))
        done += size
    return copy / found.file if found.file is not None else copy


def _count(moved: Moved, far: FarPath, before: int, total: int, more: int) -> None:
    """Raises OSError, which ends the copying, when more comes than was told."""
    if before + more > MOST:
        raise OSError(f"more than {MOST / 1e9:.1f} GB came")
    moved(far, before + more, total)


LOOK = """
case $p in /*) ;; *) p=$(pwd)/$p ;; esac
p=${p%/}
if [ -d "$p" ]; then d=$p; f=; elif [ -f "$p" ]; then d=${p%/*}; f=${p##*/}
elif [ -e "$p" ]; then echo odd; exit; else echo none; exit; fi
cd -- "${d:-/}" || exit 1
d=$(pwd -P)
printf '%s\\0' "$d/" "$f"
if [ -n "$f" ]; then set -- "$f" BESIDE; else set -- FOLDER; fi
for n do
    [ -f "$n" ] && [ -r "$n" ] || continue
    s=$(wc -c < "$n") || exit 1
    printf '%s\\0' "$n" "$s"
done
"""
"""Tells folder and file, then name and bytes of each that is there; a NUL ends each word."""


def _look(transport: Transport, far: FarPath) -> _Found:
    beside = (*RESULTS, *CONFIGS)
    folder = (*IN_FOLDER, *beside, *(f"output/{name}" for name in beside))
    home = '"$HOME"/' if far.path.startswith("~/") else ""
    script = LOOK.replace("BESIDE", _words(beside)).replace(
        "FOLDER", f"{_words((*folder, *OF_RUN))} {FACTS} {' '.join(EVENTS)}"
    )
    told = transport.run(f"p={home}{sh_quote(far.path.removeprefix('~/'))}\n{script}")
    parts = told.stdout.split("\0")
    problem = {"none": "no such file or folder", "odd": "neither a file nor a folder"}.get(told.stdout.strip())
    if problem or not told.ok or len(parts) < 3:
        raise UsageError(
            problem or "it cannot be read there",
            where=far.given,
            why=told.stderr.strip() or f"looked on {far.node.name}; a file of this machine is ./{far.given}",
            hint=f"see what is there: ssh {far.node.name} ls -l {sh_quote(str(PurePosixPath(far.path).parent))}",
        )
    file = parts[1] or None
    asked = {*beside, file} if file else {*folder, *OF_RUN}
    sizes = dict(zip(parts[2:-1:2], parts[3:-1:2], strict=False))
    strange = [name for name in sizes if name not in asked and (file or not MANY.fullmatch(name))]
    strange += [size for size in sizes.values() if not size.strip().isdigit()]
    if strange or file not in (None, PurePosixPath(far.path).name):
        raise NodeError("it answers what nobody asked for", where=far.given, why=repr([*strange, file]))
    if file is not None and file not in sizes:
        raise UsageError("it cannot be read there", where=far.given, why="the login may not read it")
    return _Found(folder=PurePosixPath(parts[0]), file=file, sizes={name: int(size) for name, size in sizes.items()})


def _words(names: Sequence[str]) -> str:
    return " ".join(map(sh_quote, names))
