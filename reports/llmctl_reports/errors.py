"""The one error of this package."""

from __future__ import annotations


class ReportError(Exception):
    """A log that cannot be read or compared: what, where, and what to do."""

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.hint = what, where, hint
