"""SIGTERM and SIGUSR1 ask training to save and end at the next step."""

from __future__ import annotations

import signal
from types import FrameType


class StopRequest:
    """Remembers the first such signal of this process; 0 for none."""

    def __init__(self) -> None:
        self.signal_number = 0

    def listen(self) -> None:
        """Take the signals from now on. Only the main thread may call it."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.signal_number = self.signal_number or number
