"""A copy of the engine's records on the launcher, which outlives the first node."""

from __future__ import annotations

from contextlib import suppress

from llmctl.errors import NodeError
from llmctl.workflows.live import Live

RECORDS = "output/steps.jsonl"


class Mirror:
    """Adds what the first node tells to the run folder's records. A run on this machine writes them there itself."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._path = live.folder.steps
        self._fetched = live.local

    def take(self, text: str, offset: int) -> None:
        """Add `text`, which ends at byte `offset` of the node's file. What came before and is not here is fetched."""
        if self._live.local:
            return
        data = text.encode()
        have = self._path.stat().st_size if self._path.exists() else 0
        missing = offset - len(data) > have
        if missing and not self._fetched:
            self._fetched = True
            first = self._live.job.nodes[0]
            with suppress(NodeError, KeyError):  # a node that is away: the end of the run collects it
                self._live.transports[first].get(f"{self._live.job.run_dir}/{RECORDS}", self._path)
        elif not missing and offset > have:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(data[have - offset :])
