"""The states of a run."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """PENDING -> STAGING -> RUNNING -> one of the last four."""

    PENDING = "PENDING"
    STAGING = "STAGING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST})
