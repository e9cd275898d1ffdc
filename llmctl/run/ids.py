"""Run ids."""

from __future__ import annotations

import re
import secrets
import string
from datetime import UTC, datetime

from llmctl.errors import UsageError
from llmctl.recipe.schema import NAME


def new_run_id(name: str) -> str:
    """`<recipe name>-<utc time>-<4 letters>`, for example `quickstart-20261121-093000-kqzt`. Raises UsageError for a
    name that a recipe may not have either."""
    if not re.fullmatch(NAME.removesuffix("$"), name):
        why = "letters, digits, dot, dash or underscore, 64 at most, beginning with a letter or digit"
        raise UsageError(f"no name for a run: {name!r}", why=f"it must be {why}")
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{letters}"
