"""Make one node of a lab behave badly, and good again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.lab.lab import Lab, LabNode

BASHRC = "/root/.bashrc"
STOPPED = "kill -STOP $(cat /run/sshd.pid)"
"""sshd takes no connection any more; the kernel still does."""


@contextmanager
def hostile(lab: Lab, node: LabNode) -> Iterator[Callable[[str], None]]:
    """Gives what runs a command inside the node; sshd, its key, accounts, .bashrc and /usr/local/bin are as before at
    the end. Raises RuntimeError when a command fails."""

    def make(words: str) -> None:
        done = lab.exec(node, words)
        if not done.ok:
            raise RuntimeError(f"{words}: {done.stderr}")

    make("mkdir -p /run/kept/bin && cp -p /etc/ssh/lab_config /etc/ssh/lab_key /etc/passwd /etc/shadow /run/kept")
    make("rm -rf /run/kept/bin && cp -a /usr/local/bin /run/kept/bin")
    try:
        yield make
    finally:
        make(
            "kill -CONT -1; cd /run/kept; cp -p lab_config lab_key /etc/ssh; cp -p passwd shadow /etc; "
            f"rm -rf {BASHRC} /usr/local/bin; cp -a bin /usr/local/bin; " + restarted()
        )


def restarted(edit: str = "") -> str:
    """The words that restart a node's sshd, with its configuration edited by sed."""
    change = f"sed -i '{edit}' /etc/ssh/lab_config; " if edit else ""
    stop = "kill $(cat /run/sshd.pid); while [ -e /run/sshd.pid ]; do sleep 0.02; done"
    start = "$(command -v sshd) -f /etc/ssh/lab_config -E /var/log/sshd.log"
    return f"{change}{stop}; {start}; while [ ! -e /run/sshd.pid ]; do sleep 0.02; done"


def with_shell(path: str) -> str:
    """The words that give root another login shell."""
    return f"sed -i 's|^\\(root:.*\\):[^:]*$|\\1:{path}|' /etc/passwd"


OTHER_KEY = (
    "rm -f /run/kept/other*; ssh-keygen -q -t ed25519 -N '' -f /run/kept/other; cp /run/kept/other /etc/ssh/lab_key; "
    + restarted()
)
"""The node shows a host key that nobody has verified."""
