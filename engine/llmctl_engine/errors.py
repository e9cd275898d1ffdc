"""What the engine raises when a person can do something about it."""

from __future__ import annotations


class EngineError(Exception):
    """A run that cannot go on: what happened, and what to do."""

    exit_code = 1

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(f"{what}. {hint}" if hint else what)


class Stopped(EngineError):
    """Training ended early because a signal asked for it; the checkpoint is written."""

    def __init__(self, signal_number: int, what: str) -> None:
        super().__init__(what)
        self.exit_code = 128 + signal_number
