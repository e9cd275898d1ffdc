"""Judging the launcher's programs: Python and its packages, ssh, pdsh, the agent."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from llmctl.checks.parsers.host import pdsh as read_pdsh
from llmctl.remote.openssh import STRICT
from llmctl.workflows.doctor_values import BAD, WARN, Machine, Row, counted, row

LEAST_SSH = (6, 8)
"""Older ones do not know UpdateHostKeys, which llmctl gives to every ssh that it starts."""
FAIL_FAST = (2, 35)
"""The first pdsh with -k."""
MOST_KEYS = 5
"""Servers hang up after six tries."""


def python(m: Machine) -> Iterable[Row]:
    version = ".".join(map(str, m.python))
    yield row("llmctl", f"{m.version}, Python {version}, {m.executable}")
    wrong = [name for name, least in m.requirements.items() if _numbers(m.packages[name]) < _numbers(least)]
    if wrong:
        found = ", ".join(f"{name} {m.packages[name] or 'missing'}" for name in wrong)
        wanted = " ".join(shlex.quote(f"{name}>={m.requirements[name]}") for name in wrong)
        yield row("python.packages", found, BAD, f"{shlex.quote(m.executable)} -m pip install {wanted}")
    else:
        yield row("python.packages", ", ".join(f"{name} {m.packages[name]}" for name in m.requirements) or "as shipped")
    engine = {name: version for name, version in m.packages.items() if name not in m.requirements}
    there = ", ".join(f"{name} {version}" for name, version in engine.items() if version)
    yield row("engine", there or "no torch here; only runs on this machine itself need it")


def ssh(m: Machine) -> Iterable[Row]:
    install = "install the package openssh-client (openssh-clients)"
    if not m.ssh_keygen:
        yield row("ssh.keygen", "ssh-keygen is not installed", BAD, f"setup-nodes makes keys with it: {install}")
    if m.ssh.text is None:
        yield row("ssh", "not installed", WARN, f"llmctl brings its own, but pdsh needs one: {install}")
        return
    match = re.search(r"OpenSSH_([0-9]+)\.([0-9]+)", m.ssh.text)
    found = m.ssh.text.split(",")[0]
    if match is None:
        yield row(
            "ssh", found, WARN, "pdsh and DeepSpeed are used with OpenSSH; another client may not know its options"
        )
    elif (int(match[1]), int(match[2])) < LEAST_SSH:
        options = ", ".join(STRICT)
        yield row("ssh", found, WARN, f"6.8 or newer is needed for the pdsh backend, which gives {options}")
    else:
        yield row("ssh", found)


def pdsh(m: Machine) -> Iterable[Row]:
    if m.pdsh.text is None:
        yield row("pdsh", "not installed; only launch.backend: pdsh and --via pdsh need it")
        return
    try:
        tool = read_pdsh(m.pdsh.text)
    except ValueError:
        yield row("pdsh", f"`pdsh -V` says {m.pdsh.text[:200]!r}", BAD, "install the package pdsh anew")
        return
    found = f"{tool['version']}, default {tool['default'] or 'unknown'}"
    if tuple(_numbers(tool["version"])) < FAIL_FAST:
        found += "; has no -k, so by hand one dead node leaves the others waiting"
    if not tool["ssh"]:
        hint = "install its ssh module (package pdsh-rcmd-ssh), or build it --with-ssh"
        yield row("pdsh", f"{found}; cannot use ssh", BAD, hint)
        return
    yield row("pdsh", found)
    chosen = m.pdsh_environment.get("PDSH_RCMD_TYPE") or tool["default"] or "rsh"
    if chosen != "ssh":
        yield row("pdsh.rcmd", f"by hand pdsh uses {chosen}; llmctl tells it ssh", WARN, "export PDSH_RCMD_TYPE=ssh")
    else:
        yield row("pdsh.rcmd", "ssh")
    traps = [f"{name} {why}" for name, why in _TRAPS.items() if name in m.pdsh_environment]
    if re.search(r"StrictHostKeyChecking[= ](no|off)", " ".join(m.pdsh_environment.values()), re.IGNORECASE):
        traps.append("host keys are not verified")
    if traps:
        names = " ".join(name for name in _TRAPS if name in m.pdsh_environment) or "PDSH_SSH_ARGS_APPEND"
        yield row("pdsh.environment", f"for pdsh by hand: {'; '.join(traps)}", WARN, f"unset {names}")


_TRAPS = {
    "PDSH_SSH_ARGS": "replaces pdsh's own arguments of ssh",
    "WCOLL": "names the nodes of every pdsh without -w",
    "DSHPATH": "replaces PATH on the nodes",
}


def arguments(m: Machine) -> Iterable[Row]:
    free = m.argument_bytes - m.environment_bytes
    found = (
        f"{m.argument_bytes} bytes for a command and its environment, {m.environment_bytes} of them taken; "
        f"{m.one_argument_bytes} for one argument"
    )
    if free < 2 * m.one_argument_bytes:
        hint = "pdsh may fail with `Argument list too long`: ulimit -s 8192, or a smaller environment"
        yield row("arguments", found, WARN, hint)
    else:
        yield row("arguments", found)


def agent(m: Machine) -> Iterable[Row]:
    if m.agent_socket is None:
        yield row("agent", "none; llmctl's own key needs none")
    elif m.agent.text is None:
        yield row("agent", "there is one, but no ssh-add to ask it", WARN, "install the package openssh-client")
    elif m.agent.code == 1:
        yield row("agent", "answers, holds no key")
    elif m.agent.code != 0:
        yield row("agent", f"does not answer at {m.agent_socket}", WARN, "unset SSH_AUTH_SOCK, or: eval $(ssh-agent)")
    else:
        count = len(m.agent.text.splitlines())
        if count > MOST_KEYS:
            hint = "give the right one: --identity KEY, or IdentityFile in ~/.ssh/config"
            yield row("agent", f"holds {count} keys; servers hang up after six tries", WARN, hint)
        else:
            yield row("agent", f"answers, holds {counted(count, 'key')}")


def _numbers(version: str | None) -> list[int]:
    """The leading numbers of a version; none for what is missing."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version or "")
    return [int(part) for part in match.group().split(".")] if match else []
