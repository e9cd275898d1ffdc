"""Whether the far end of a connection is still there, where no kernel says so: behind a jump host the packets are
acknowledged by that host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import paramiko


def ask_over_and_over(
    transport: paramiko.Transport, drop: Callable[[], None], *, beat: float, patience: float
) -> threading.Thread:
    """Ask the server every `beat` seconds whether it is there, for as long as the connection stands; after `patience`
    seconds without an answer `drop` must close it. Gives the thread that does so."""

    def ask() -> None:
        while transport.is_active():
            late = threading.Timer(patience, drop)
            late.daemon = True
            late.start()
            try:
                transport.global_request("keepalive@openssh.com", wait=True)
            except (paramiko.SSHException, EOFError, OSError):
                return
            finally:
                late.cancel()
            time.sleep(beat)

    thread = threading.Thread(target=ask, daemon=True, name="vouching")
    thread.start()
    return thread
