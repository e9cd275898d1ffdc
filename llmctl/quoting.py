"""Values on their way into a shell. Every one passes `sh_quote`."""

from __future__ import annotations

import shlex

from llmctl.errors import UsageError


def sh_quote(value: object) -> str:
    """`value` as one word of a POSIX shell. Raises UsageError for a NUL, which no shell can hold."""
    text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    if "\0" in text:
        raise UsageError("a value for the shell holds a NUL character", why=repr(text))
    return shlex.quote(text)
