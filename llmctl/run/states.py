"""The states of a run."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """PENDING -> CHECKING -> STAGING -> RUNNING -> one of the last four."""

    PENDING = "PENDING"
    CHECKING = "CHECKING"
    STAGING = "STAGING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST})
