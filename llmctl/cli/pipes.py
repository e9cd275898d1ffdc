"""Output that nobody reads any more, as under `head`: no reason to complain."""

from __future__ import annotations

import os
import select
from typing import TextIO


def unread(stream: TextIO) -> bool:
    """Whether a stream is a pipe whose reader is gone, or a terminal that is."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return bool(poll.poll(0))


def mute(stream: TextIO) -> None:
    """Send a stream nowhere, so that nothing complains about its closed pipe any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
