"""`python -m tests.lab up --nodes 2 [-- COMMAND]`: nodes to try llmctl on, until Ctrl-C or the command's end."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.lab import Lab


def main() -> int:
    words = sys.argv[1:]
    command: list[str] = []
    if "--" in words:
        command = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    up = parser.add_subparsers(required=True, metavar="up").add_parser("up", help="bring nodes up")
    up.add_argument("--nodes", type=int, default=2, metavar="N")
    up.add_argument("--disk-mb", type=int, default=4096, metavar="MB", help="size of each node's /tmp")
    up.add_argument("--shared", type=Path, metavar="DIR", help="a folder that all nodes see")
    up.add_argument("--rootless", action="store_true", help="plain sshd on loopback, as without root")
    args = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shared = args.shared.resolve() if args.shared else None
    try:
        with Lab.start(
            args.nodes, disk_mb=args.disk_mb, shared=shared, rootless=True if args.rootless else None
        ) as lab:
            if command:
                return subprocess.run(command, env=lab.env, check=False).returncode
            print(_told(lab), flush=True)
            threading.Event().wait()
    except RuntimeError as error:
        print(f"no lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _told(lab: Lab) -> str:
    """What a person needs to know, and what to type."""
    names = ",".join(node.name for node in lab.nodes)
    sets = f"--set 'cluster.nodes=[{names}]' --set cluster.workdir={lab.nodes[0].workdir}"
    lines = [
        f"{len(lab.nodes)} nodes are up; Ctrl-C takes them down. In another terminal:",
        "",
        f"  export LLMCTL_HOME={lab.home}",
        f"  llmctl setup-nodes {' '.join(lab.specs)} {' '.join(lab.login_options())}",
        "  llmctl check " + names.replace(",", " "),
        f"  llmctl run recipes/quickstart.yaml --set launch.backend=ssh {sets} --set cluster.python={lab.python} \\",
        "      --set cluster.devices_per_node=1",
        "  llmctl report --compare recipes/data/quickstart/reference/steps.jsonl",
        "",
    ]
    if lab.site.password is not None:
        lines.append(f"The password of root on every node: {lab.site.password}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
