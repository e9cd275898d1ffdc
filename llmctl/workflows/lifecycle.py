"""What becomes of runs that were started: logs, cancel."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmctl.errors import LlmctlError, UsageError
from llmctl.launch.supervised import FULL, NodeReport
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.run.folder import RunFolder
from llmctl.run.index import find_run
from llmctl.run.states import ENDED, State
from llmctl.workflows import ending as concluding
from llmctl.workflows.follow import GRACE, Watcher, label_of
from llmctl.workflows.live import Live, opened
from llmctl.workflows.polling import INTERVAL
from llmctl.workflows.render import runs_folder


@dataclass(frozen=True, kw_only=True)
class LogFilter:
    """Which lines of a run's logs are wanted; None is all."""

    node: str | None = None
    rank: int | None = None
    pattern: str | None = None

    def compiled(self) -> Callable[[str, str], bool]:
        """(file name, line) -> wanted. Raises UsageError for a pattern that is no regular expression."""
        try:
            expression = re.compile(self.pattern) if self.pattern else None
        except re.error as error:
            raise UsageError(f"no regular expression: {self.pattern}", where="--grep", why=str(error)) from None

        def wanted(name: str, line: str) -> bool:
            _, node, file = name.split("/", 2)
            return (
                (self.node is None or node == self.node)
                and (self.rank is None or file == f"rank{self.rank}.log")
                and (expression is None or bool(expression.search(line)))
            )

        return wanted


def logs(
    given: str | None, *, runs: Path | None, wanted: LogFilter, follow: bool, tell: Callable[[str, str], None]
) -> dict[str, LlmctlError]:
    """Tell (label, line) of a run's logs, to the end or with `follow` until the run has ended. Of an ended run the
    collected files are read. The result holds the nodes that could not be asked."""
    folder = find_run(given, runs_folder(runs))
    keep = wanted.compiled()
    manifest = folder.read_manifest()
    names = [node["name"] for node in manifest["nodes"]]
    if wanted.node is not None and wanted.node not in names:
        raise UsageError(f"no node {wanted.node} in this run", where="--node", hint=f"there are {', '.join(names)}")

    def show(name: str, text: str) -> None:
        if name.startswith("logs/"):
            for line in text.splitlines():
                if keep(name, line):
                    tell(label_of(name), line)

    if State(manifest["state"]) in ENDED:
        for path in sorted(folder.root.glob("logs/*/*.log")):
            show(str(path.relative_to(folder.root)), path.read_text(encoding="utf-8", errors="replace"))
        return {}
    with opened(folder) as (live, errors):
        offsets: dict[str, dict[str, int]] = {}
        while True:
            texts, reports = _read_all(live, errors, offsets)
            for name, text in texts:
                show(name, text)
            over = all(report.state in ENDED for report in reports.values() if report.state is not None)
            if not follow or over or not reports:
                return errors
            time.sleep(INTERVAL)


def cancel(given: str, *, runs: Path | None, watcher: Watcher) -> tuple[RunFolder, list[Outcome[str, int]]]:
    """End a run on all its nodes. Each outcome is how many processes were ended; a node that was not reached is an
    error, and the run then keeps its state. A run that was lost or failed may still have processes. Raises UsageError
    for a run that has ended otherwise."""
    folder = find_run(given, runs_folder(runs))
    known = State(folder.read_manifest()["state"])
    if known in (State.SUCCEEDED, State.CANCELLED):
        raise UsageError(f"{folder.run_id} has ended: {known}", hint="llmctl ps")
    with opened(folder) as (live, errors):
        unreached = [Outcome[str, int](node, error=error) for node, error in errors.items()]
        if unreached or known is State.FAILED:
            done = live.backend.cancel(live.job, live.transports, GRACE)
        else:
            done = concluding.cancel(live, watcher)
    return folder, [*done, *unreached]


def _read_all(
    live: Live, errors: dict[str, LlmctlError], offsets: dict[str, dict[str, int]]
) -> tuple[list[tuple[str, str]], dict[str, NodeReport]]:
    """Everything that the nodes' files hold behind `offsets` by now, and every node's last report."""
    texts: list[tuple[str, str]] = []
    reports: dict[str, NodeReport] = {}
    todo = [node for node in live.job.nodes if node in live.transports and node not in errors]
    while todo:
        outcomes = fan_out(todo, lambda node: live.backend.logs(live.job, live.transports[node], offsets.get(node, {})))
        todo = []
        for outcome in outcomes:
            if outcome.value is None:
                errors[outcome.item] = outcome.error or LlmctlError("no answer", where=outcome.item)
                continue
            reports[outcome.item] = outcome.value
            texts += outcome.value.texts.items()
            offsets.setdefault(outcome.item, {}).update(outcome.value.offsets)
            if any(len(text.encode()) > FULL for text in outcome.value.texts.values()):
                todo.append(outcome.item)
    return texts, reports
