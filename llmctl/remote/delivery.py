"""One hop of a parcel: from the launcher to a node, or from node to node; then the check and the swap there."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmctl.errors import NodeError, UsageError
from llmctl.onnode import handon, receive
from llmctl.quoting import sh_quote
from llmctl.remote.connect import Target
from llmctl.remote.openssh import ssh_config, ssh_options
from llmctl.remote.parcel import Parcel
from llmctl.remote.spread import HopFailed
from llmctl.remote.ssh import SshTransport
from llmctl.resources import onnode_file

IDLE = 120.0
"""Seconds without a byte after which a connection counts as lost."""
BEAT = 2.0
"""Seconds between two signs that a lock is still wanted."""
PEER_OPTIONS = (
    "-oBatchMode=yes",
    "-oStrictHostKeyChecking=yes",
    "-oConnectTimeout=10",
    "-oServerAliveInterval=10",
    "-oServerAliveCountMax=3",
)
Tell = Callable[[int], None]
"""Told the bytes that are done."""
Hear = Callable[[Mapping[str, Any]], None]
"""Told what a program says while it works."""


class RsyncFailed(NodeError):
    """rsync could not do it; the own transfer may."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One node as a place to bring something to."""

    link: SshTransport
    target: Target
    path: str
    """Where it shall lie there: absolute, or `~/...`."""
    python: str = "python3"
    idle: float = IDLE

    @property
    def name(self) -> str:
        """The node's name."""
        return self.link.node.name


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a node said when it was prepared."""

    complete: bool
    path: str
    """The real path, links resolved."""
    tree: str
    """Where the parts lie until the whole is complete."""
    need: tuple[tuple[int, int], ...] = ()
    """Number of a file in the parcel, and its bytes that are there already."""
    relay: bool = False
    """Whether the node may log in to others."""
    rsync: bool = False
    extras: tuple[str, ...] = ()
    """Other files that lie in the folder."""

    def missing(self, parcel: Parcel) -> int:
        """Bytes that must come."""
        return sum(parcel.files[index].size - have for index, have in self.need)


def ask(
    place: Place, program: str, request: Mapping[str, Any], *, hear: Hear, pieces: Iterable[bytes] = ()
) -> dict[str, Any]:
    """Run a program of `llmctl/onnode` there with a request; gives its answer. `hear` gets every word on the way.

    Raises NodeError when the node refuses, has no Python, or is lost."""
    told: dict[str, Any] = {}

    def line(text: str) -> None:
        if text.startswith(receive.MARK):
            words = json.loads(text[len(receive.MARK) :])
            told.update(words)
            hear(words)

    def stream() -> Iterable[bytes]:
        yield json.dumps(request).encode("ascii") + b"\n"
        yield from pieces

    ended = place.link.stream(command(program, place.python), stream(), told=line, idle=place.idle)
    return answer_of(place.name, told, ended.code, ended.stderr, place.python)


def _bytes(tell: Tell) -> Hear:
    """Passes on the bytes that are done."""

    def hear(words: Mapping[str, Any]) -> None:
        if "done" in words:
            tell(words["done"])

    return hear


def command(program: str, python: str) -> str:
    """A line for a node's shell that runs a program of `llmctl/onnode`; nothing of it is left there."""
    packed = base64.b64encode(zlib.compress(onnode_file(program).read_bytes(), 9)).decode()
    code = f'import base64,zlib;exec(zlib.decompress(base64.b64decode("{packed}")))'
    return f"exec {sh_quote(python)} -c {sh_quote(code)} {receive.NAME}"


def answer_of(node: str, told: Mapping[str, Any], code: int, stderr: str, python: str) -> dict[str, Any]:
    """The answer among what was told. Raises NodeError for a refusal and for a program that did not run."""
    if told.get("refused"):
        words = told["refused"]
        raise NodeError(words["what"], where=node, why=words["why"], hint=words["hint"])
    if "answer" in told:
        answer: dict[str, Any] = told["answer"]
        return answer
    if code == 127:
        raise NodeError(f"there is no {python}", where=node, hint="install Python 3.6 or newer there")
    raise NodeError("the program there ended too early", where=node, why=f"exit code {code}: {stderr.strip()[-400:]}")


def mark(place: Place) -> None:
    """Leave the node's name beside the target."""
    ask(place, "receive.py", {"verb": "mark", "target": place.path, "node": place.name}, hear=_nobody)


def seen(place: Place) -> list[str]:
    """The names that are seen beside the target: of all nodes with which this one shares a file system."""
    told = ask(place, "receive.py", {"verb": "seen", "target": place.path}, hear=_nobody)
    names: list[str] = told["seen"]
    return names


def prepare(place: Place, parcel: Parcel, *, replace: bool, verify: bool, tell: Tell) -> Standing:
    """Compare what stands there with the parcel; `tell` gets the bytes that had to be read for it.

    Raises NodeError when there is no room, or when something stands there that would be lost (unless `replace`)."""
    request = {"verb": "prepare", "target": place.path, "replace": replace, "verify": verify}
    told = ask(place, "receive.py", {**request, "parcel": parcel.request()}, hear=_bytes(tell))
    return Standing(
        complete=told["complete"],
        path=told["target"],
        tree=told["tree"],
        need=tuple((index, have) for index, have in told.get("need", [])),
        relay=told["relay"],
        rsync=told["rsync"],
        extras=tuple(told.get("extras", [])),
    )


def finish(place: Place, parcel: Parcel, *, tell: Tell) -> list[str]:
    """Check every file there and put the whole in its place. Gives the names of the files that are wrong: then nothing
    was put anywhere, and these must come again."""
    request = {"verb": "finish", "target": place.path, "digest": parcel.digest}
    told = ask(place, "receive.py", request, hear=_bytes(tell))
    return [parcel.files[index].name for index in told.get("wrong", [])]


@contextmanager
def guarded(place: Place) -> Iterator[None]:
    """Nobody else writes there meanwhile, as with the own transfer, which holds its lock by itself. Raises NodeError
    when another push does already."""
    ended, begun = threading.Event(), threading.Event()
    failed: list[NodeError] = []

    def beats() -> Iterator[bytes]:
        while not ended.wait(BEAT):
            yield b"."

    def hear(words: Mapping[str, Any]) -> None:
        if words.get("kept"):
            begun.set()

    def work() -> None:
        try:
            ask(place, "receive.py", {"verb": "keep", "target": place.path}, hear=hear, pieces=beats())
        except NodeError as error:
            failed.append(error)
        begun.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    begun.wait()
    try:
        if failed:
            raise failed[0]
        yield
    finally:
        ended.set()
        thread.join(10)


def send(
    place: Place, parcel: Parcel, standing: Standing, *, rsync: bool, tell: Tell, stopped: Callable[[], bool]
) -> int:
    """Bring what is missing from the launcher, by rsync where both ends have it and `rsync` says so; gives the bytes
    that went over its link. An rsync ends when `stopped` says so, everything else with the connection.

    Raises NodeError when the node refuses, RsyncFailed when only rsync does not work."""
    if rsync and standing.rsync and shutil.which("rsync"):

        def live(done: int) -> None:
            if stopped():
                raise NodeError("it was stopped", where=place.name)
            tell(done)

        return _by_rsync(place, parcel, standing, live)
    files = [(i, parcel.path(parcel.files[i]), have, parcel.files[i].size) for i, have in standing.need]
    request = {"verb": "receive", "target": place.path, "digest": parcel.digest}
    told = ask(place, "receive.py", request, hear=_bytes(tell), pieces=_frames(files))
    return int(told["done"])


def _frames(files: Iterable[tuple[int, Path, int, int]]) -> Iterator[bytes]:
    try:
        yield from handon.frames(files)
    except OSError as error:
        raise UsageError("a file cannot be sent", where=str(error.filename), why=str(error.strerror)) from error


def _by_rsync(place: Place, parcel: Parcel, standing: Standing, tell: Tell) -> int:
    single = parcel.kind == "file"
    names = None if single else [parcel.files[index].name for index, _ in standing.need]
    goal = f"{standing.tree}/{parcel.files[0].name}" if single else standing.tree
    with tempfile.TemporaryDirectory(prefix="llmctl-") as folder:
        config = Path(folder, "config")
        config.write_text(ssh_config({"node": place.target}), encoding="utf-8")
        options = [*ssh_options(config), "-oServerAliveInterval=10", "-oServerAliveCountMax=3"]
        argv = handon.rsync_command(
            os.fsencode(parcel.root),
            names,
            " ".join(["ssh", *options]).encode(),
            b"node:" + receive.raw(goal),
            None if single else receive.raw(standing.path),
        )
        with guarded(place):
            code, why, sent = handon.run_rsync(argv, names, tell)
    if code:
        raise RsyncFailed("rsync failed", where=place.name, why=f"exit code {code}: {why[-400:]}")
    return sent


def hand_on(
    source: Place, place: Place, parcel: Parcel, standing: Standing, *, path: str, rsync: bool, tell: Tell
) -> None:
    """Bring what is missing from the node `source`, where the whole stands at `path`. Raises HopFailed when `source`
    cannot do that, RsyncFailed when only its rsync cannot, NodeError when the receiving node refuses."""
    request = {
        "single": parcel.kind == "file",
        "source": path,
        "files": [(i, parcel.files[i].name, have, parcel.files[i].size) for i, have in standing.need],
        "options": list(PEER_OPTIONS),
        "peer": place.name,
        "rsync": rsync,
        "tree": standing.tree,
        "target": standing.path,
        "command": command("receive.py", place.python),
        "ask": {"verb": "receive", "target": place.path, "digest": parcel.digest},
    }
    try:
        with guarded(place) if rsync else nullcontext():
            told = ask(source, "handon.py", request, hear=_bytes(tell))
    except NodeError as error:
        raise HopFailed(error.what, where=place.name, why=f"from {source.name}: {error.why}") from error
    if told.get("refused"):
        answer_of(place.name, told, 0, "", place.python)
    if told.get("answer", {}).get("stranger"):
        raise HopFailed(f"{source.name} reaches another machine under this name", where=place.name)
    if told.get("rsync"):
        raise RsyncFailed("rsync failed", where=place.name, why=f"from {source.name}: {told['why']}")
    for key in ("unreachable", "source"):
        if told.get(key):
            raise HopFailed(f"{source.name} could not hand it on", where=place.name, why=str(told[key]))


def _nobody(_: object) -> None:
    """Nobody wants to know."""
