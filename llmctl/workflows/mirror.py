"""A copy of the engine's records on the launcher, which outlives the first node."""

from __future__ import annotations

import time
from collections.abc import Sequence

from llmctl.errors import NodeError
from llmctl.launch.supervised import NodeReport
from llmctl.run.records import Progress
from llmctl.workflows.live import Live

RECORDS = "output/steps.jsonl"
AGAIN = 10.0
"""Seconds until records that could not be fetched are asked for again."""


class Mirror:
    """Adds what the first node tells to the run folder's records. A run on this machine writes them there itself."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._path = live.folder.steps
        self._fetch_at = 0.0

    def take(self, text: str, offset: int) -> None:
        """Add `text`, which ends at byte `offset` of the node's file. What came before and is not here is fetched."""
        if self._live.local:
            return
        data = text.encode()
        if offset - len(data) > self._size():
            self._fetch()
        have = self._size()
        if offset - len(data) <= have < offset:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(data[have - offset :])

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _fetch(self) -> None:
        if time.monotonic() < self._fetch_at:
            return
        self._fetch_at = time.monotonic() + AGAIN
        try:
            transport = self._live.reached(self._live.job.nodes[0])
            transport.get(f"{self._live.job.run_dir}/{RECORDS}", self._path)
        except NodeError:
            return  # asked for again with the next records, and at the end of the run


def progress_of(live: Live, reports: Sequence[NodeReport]) -> Progress:
    """Where a run stands, from the ends of its records."""
    progress = Progress(total_steps=live.folder.read_manifest().get("total_steps") or 0)
    for report in reports:
        if report.node == live.job.nodes[0]:
            progress.feed(report.texts.get(RECORDS, ""))
    return progress
