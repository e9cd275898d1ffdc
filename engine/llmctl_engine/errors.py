"""What the engine raises when a person can do something about it."""

from __future__ import annotations


class EngineError(Exception):
    """A run that cannot go on: what happened, and what to do."""

    exit_code = 1

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(f"{what}. {hint}" if hint else what)
        self.what = what
        self.hint = hint


class Stopped(EngineError):
    """The run ended early because a signal asked for it; what was trained until then is in the checkpoint."""

    def __init__(self, signal_number: int, what: str) -> None:
        super().__init__(what)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


LOADING_ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, RuntimeError, LookupError, AttributeError, AssertionError, ImportError),
)
"""What transformers raises for files that it can make nothing of, or only with a package that is not there."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
