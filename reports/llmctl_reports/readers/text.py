"""Console output as lines."""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def console_lines(text: str) -> list[str]:
    """Lines without colour codes; a progress bar's carriage returns end lines too."""
    return [line for line in re.split(r"[\r\n]+", _ANSI.sub("", text)) if line.strip()]
