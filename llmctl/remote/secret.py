"""A password in memory that shows itself nowhere."""

from __future__ import annotations

from pathlib import Path

from llmctl.errors import UsageError


class Secret:
    """A string whose text only `reveal` gives: printing, formatting and tracebacks show stars."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one call that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not written anywhere")


def read_password(file: Path) -> Secret:
    """The password that a file holds, without the end of its line. Raises UsageError when it cannot be read."""
    try:
        return Secret(file.read_text(encoding="utf-8").rstrip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        hint = "--password-file FILE: a file that holds the password alone"
        raise UsageError("the password file cannot be read", where=str(file), why=why, hint=hint) from error
