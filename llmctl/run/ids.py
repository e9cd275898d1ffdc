"""Run ids."""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime


def new_run_id(name: str) -> str:
    """`<recipe name>-<utc time>-<4 letters>`, for example `quickstart-20261121-093000-kqzt`."""
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{letters}"
