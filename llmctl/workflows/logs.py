"""The logs of a run's nodes and ranks as one stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from llmctl.errors import LlmctlError, UsageError
from llmctl.recipe.hosts import Node
from llmctl.remote.connect import connect_all
from llmctl.remote.fanout import Outcome
from llmctl.remote.transport import Transport
from llmctl.run.acting import actor
from llmctl.run.folder import RunFolder
from llmctl.run.index import find_run, runs_folder
from llmctl.run.states import ENDED, State
from llmctl.workflows.attach import tell_silence
from llmctl.workflows.attempting import started_alike
from llmctl.workflows.live import Live, opened
from llmctl.workflows.merging import lines_of, log_files, merged
from llmctl.workflows.polling import INTERVAL, Answer, Polling
from llmctl.workflows.watching import label_of


@dataclass(frozen=True, kw_only=True)
class LogFilter:
    """Which lines of a run's logs are wanted; None is all."""

    node: str | None = None
    rank: int | None = None
    pattern: str | None = None

    def compiled(self) -> Callable[[str], bool]:
        """Whether a line is wanted. Raises UsageError for a pattern that is no regular expression."""
        try:
            expression = re.compile(self.pattern) if self.pattern else None
        except re.error as error:
            raise UsageError(f"no regular expression: {self.pattern}", where="--grep", why=str(error)) from None
        return lambda line: expression is None or bool(expression.search(line))

    def takes(self, name: str) -> bool:
        """Whether lines of the file `logs/<node>/<file>` may be wanted."""
        place, _, rest = name.partition("/")
        node, _, file = rest.partition("/")
        return (
            place == "logs"
            and (self.node is None or node == self.node)
            and (self.rank is None or file == f"rank{self.rank}.log")
        )


class Reader(Protocol):
    """Who reads the logs."""

    def line(self, label: str, line: str) -> None:
        """A line; `label` names node and rank."""

    def note(self, text: str) -> None:
        """A remark that is no part of the logs."""


def logs(
    given: str | None, *, runs: Path | None, wanted: LogFilter, follow: bool, reader: Reader
) -> dict[str, LlmctlError]:
    """Tell a run's logs to `reader`, to the end or with `follow` until the run has ended. Of an ended run the collected
    files are read. The result holds the nodes that could not be asked in the end."""
    folder = find_run(given, runs_folder(runs))
    keep = wanted.compiled()
    manifest = folder.read_manifest()
    names = [node["name"] for node in manifest["nodes"]]
    if wanted.node is not None and wanted.node not in names:
        raise UsageError(f"no node {wanted.node} in this run", where="--node", hint=f"there are {', '.join(names)}")

    if wanted.rank is not None and not 0 <= wanted.rank < manifest["world_size"]:
        there = f"there are 0 to {manifest['world_size'] - 1}"
        raise UsageError(f"no rank {wanted.rank} in this run", where="--rank", hint=there)

    def tell(files: Mapping[str, Iterable[str]]) -> None:
        for name, line in merged({name: lines for name, lines in files.items() if wanted.takes(name)}):
            if keep(line):
                reader.line(label_of(name), line)

    if State(manifest["state"]) in ENDED:
        tell({f"logs/{name}": lines_of(paths) for name, paths in log_files(folder.root / "logs").items()})
        return {}
    return _from_nodes(folder, wanted, tell, reader, follow=follow)


def _from_nodes(
    folder: RunFolder,
    wanted: LogFilter,
    tell: Callable[[Mapping[str, Iterable[str]]], None],
    reader: Reader,
    *,
    follow: bool,
) -> dict[str, LlmctlError]:
    """What the nodes hold, with `follow` until the run has ended, also where it is started again meanwhile."""
    silent: dict[str, LlmctlError] = {}
    offsets: dict[str, dict[str, int]] = {}

    def take(answers: Iterable[Answer]) -> None:
        came: dict[str, list[str]] = {}
        for answer in answers:
            if follow:
                tell_silence(answer, silent, reader.note)
            if answer.value is None:
                silent[answer.item] = answer.error or LlmctlError("no answer", where=answer.item)
                continue
            silent.pop(answer.item, None)
            offsets.setdefault(answer.item, {}).update(answer.value.offsets)
            for name, text in answer.value.texts.items():
                came.setdefault(name, []).extend(text.splitlines())
        tell(came)

    only = () if wanted.node is None else (wanted.node,)
    while True:
        known = folder.read_manifest()
        with opened(folder, partial(_connect, only)) as (live, _):
            polling = Polling(live, offsets, nodes=only)
            if follow:
                with polling:
                    _follow(live, polling, take, known)
            for answer in polling.rest():
                take([answer])
        if not follow or started_alike(known, folder.read_manifest()):
            return silent


def _follow(live: Live, polling: Polling, take: Callable[[Iterable[Answer]], None], known: Mapping[str, Any]) -> None:
    """Until the run has ended, as noted, or, where nobody acts for it, as the nodes tell; or until it is not the
    `known` one any more."""
    starters = [node for node in live.backend.starters(live.job) if node in polling.nodes]
    ended: set[str] = set()
    while True:
        now = live.folder.read_manifest()
        if State(now["state"]) in ENDED or not started_alike(known, now):
            return
        for answer in polling.take(INTERVAL):
            take([answer])
            if answer.value is not None:
                (ended.add if answer.value.state in ENDED else ended.discard)(answer.item)
        if starters and ended.issuperset(starters) and actor(live.folder) is None:
            return


def _connect(only: Sequence[str], nodes: Sequence[Node], **login: Any) -> list[Outcome[Node, Transport]]:
    """Connections to those of the nodes that are asked."""
    return connect_all([node for node in nodes if not only or node.name in only], **login)
