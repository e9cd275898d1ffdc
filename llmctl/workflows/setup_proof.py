"""The proof of setup-nodes: every promised login by a new connection that can ask nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from llmctl.errors import NodeError
from llmctl.remote.connect import open_target
from llmctl.remote.fanout import fan_out
from llmctl.remote.login import Credentials
from llmctl.remote.openssh import complaint
from llmctl.workflows.setup_steps import pinned
from llmctl.workflows.setup_values import Login, Member


def prove(members: Sequence[Member], sources: Sequence[Member]) -> list[Login]:
    """Every promised login, each by a new connection that can ask nothing."""

    def from_launcher(member: Member) -> None:
        open_target(member.target, credentials=Credentials(only_own_key=True), verify=pinned(member.key)).close()

    alive = [member for member in members if member.error is None]
    logins = [
        Login(source="launcher", node=outcome.item.name, error=outcome.error)
        for outcome in fan_out(alive, from_launcher)
    ]
    able = [member for member in sources if member.error is None]
    for outcome in fan_out(able, lambda source: _from_node(source, alive)):
        if outcome.error is not None:
            outcome.item.error = outcome.error
        logins += outcome.value or []
    return logins


_TRY = """try() {
for pause in 1 2 4 0; do
  out=$(ssh -o BatchMode=yes -o ConnectTimeout=10 -- "$1" true </dev/null 2>&1); code=$?
  case $code:$out in
    255:*kex_exchange*|255:*reset*|255:*"closed by"*) sleep $pause;;
    *) break;;
  esac
done
printf '%s\\nmark %s %s\\n' "$out" "$1" "$code"
}
"""
"""A server that is asked by many nodes at once drops some connections (MaxStartups): these are tried again."""


def _from_node(source: Member, targets: Sequence[Member]) -> list[Login]:
    if not source.found.ssh:
        error = NodeError("ssh is not installed there", where=source.name, hint="install the OpenSSH client")
        return [Login(source=source.name, node=member.name, error=error) for member in targets]
    names = [shlex.quote(member.name) for member in targets]
    script = _TRY + "\n".join(f"try {name} > $d/{i} &" for i, name in enumerate(names))
    numbers = " ".join(str(i) for i in range(len(targets)))
    script = f'd=$(mktemp -d) || exit 1\n{script}\nwait\ncd $d && cat {numbers}; rm -r "$d"'
    collected = source.link.run(script, timeout=120)
    parts = re.split(r"\nmark \S+ (\d+)\n", collected.stdout)
    if len(parts) != 2 * len(targets) + 1:
        raise NodeError("proving its logins failed", where=source.name, why=collected.stderr.strip()[-300:])
    return [
        Login(
            source=source.name,
            node=member.name,
            error=None if code == "0" else complaint(member.name, f"from {source.name}: {text}"),
        )
        for member, text, code in zip(targets, parts[0::2], parts[1::2], strict=False)
    ]
