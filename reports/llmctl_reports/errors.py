"""The one error of this package."""

from __future__ import annotations


class ReportError(Exception):
    """A log that cannot be read or compared: what, where and why, and what to do next."""

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        super().__init__(f"{where}: {what}" if where else what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint
