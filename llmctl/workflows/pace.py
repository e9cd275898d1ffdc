"""How often who acts for a run asks its nodes: once a second while somebody looks on or something happens, seldom else.
A question costs a node the start of a Python."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from llmctl.run.folder import RunFolder

UNWATCHED = 5.0
"""Seconds between two questions when nobody looks on; a failure still stops all nodes within 15."""
LIVELY = 60.0
"""Seconds after something has happened in which the nodes are asked as if somebody looked on."""
LOOKED = 10.0
"""Seconds for which a look lasts."""
STEPS = 4
"""Questions that are asked at least within `launch.stall`."""


def look(folder: RunFolder) -> None:
    """Let who acts for the run know that somebody looks on."""
    (folder.root / "watched").touch()


def looked_on(folder: RunFolder) -> bool:
    """Whether somebody looks on now."""
    try:
        return time.time() - (folder.root / "watched").stat().st_mtime < LOOKED
    except FileNotFoundError:
        return False


@dataclass
class Pace:
    """Of one who acts while nobody sees what it tells."""

    folder: RunFolder
    stall: float = 0
    """Seconds without a step after which the run hangs; 0: never."""
    _happened: float = field(default_factory=time.monotonic)
    """When anything but a step was seen last."""

    def happened(self) -> None:
        """Something changes: the nodes are asked often for a while."""
        self._happened = time.monotonic()

    def pause(self) -> float:
        """Seconds between two questions to a node, 0 where it need not wait longer than anybody else."""
        if time.monotonic() - self._happened < LIVELY or looked_on(self.folder):
            return 0.0
        return min(UNWATCHED, self.stall / STEPS) if self.stall else UNWATCHED
