"""Judging the launcher's own files: keys, host keys, records, and the user's ~/.ssh."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from llmctl.workflows.doctor_values import BAD, WARN, FileState, Health, Machine, Row, counted, row


def keys(m: Machine) -> Iterable[Row]:
    if not m.home.exists:
        yield row("home", f"{m.home.path} is not there yet; setup-nodes makes it")
    else:
        yield _private(m.home, "home", 0o700)
    if not m.own_key.exists:
        yield row(
            "key",
            f"no key at {m.own_key.path} yet",
            WARN,
            "llmctl setup-nodes NODES makes it, and puts it on the nodes",
        )
    else:
        yield _private(m.own_key, "key", 0o600, readable=BAD)
    for state in m.own_files:
        if state.exists:
            yield _private(state, f"file.{state.path.rsplit('/', 1)[-1]}", 0o600)


def _private(state: FileState, what: str, mode: int, *, readable: Health = WARN) -> Row:
    found = f"{state.path} has mode {state.mode:04o}"
    path = shlex.quote(state.path)
    if not state.own:
        return row(what, f"{state.path} belongs to somebody else", BAD, f"sudo chown $(id -u) {path}")
    if state.mode & 0o022:
        return row(what, f"{found}: others can change it", BAD, f"chmod {mode:04o} {path}")
    if state.mode & 0o055:
        return row(what, f"{found}: others can read it", readable, f"chmod {mode:04o} {path}")
    return row(what, found)


def ssh_files(m: Machine) -> Iterable[Row]:
    if m.ssh_folder.exists:
        states = [(m.ssh_folder, 0o700), *((key, 0o600) for key in m.ssh_keys)]
        wrong = [(state, mode) for state, mode in states if state.mode & (0o022 if mode == 0o700 else 0o077)]
        if wrong:
            found = ", ".join(f"{state.path} has mode {state.mode:04o}" for state, _ in wrong)
            mend = " && ".join(f"chmod {mode:04o} {shlex.quote(state.path)}" for state, mode in wrong)
            yield row("ssh.files", f"{found}; ssh refuses what others can touch", WARN, mend)
        else:
            yield row("ssh.files", f"{m.ssh_folder.path} and {counted(len(m.ssh_keys), 'key')} in it are private")
    if m.ssh_config_error:
        yield row("ssh.config", m.ssh_config_error.splitlines()[0], BAD, "mend ~/.ssh/config; ssh -G node1 tells where")
    elif m.ssh_config is not None:
        yield _ssh_config(m.ssh_config)


def _ssh_config(text: str) -> Row:
    odd = {
        "Include": r"^\s*include\b",
        "Match exec": r"^\s*match\b.*\bexec\b",
    }
    found = [name for name, pattern in odd.items() if re.search(pattern, text, re.IGNORECASE | re.MULTILINE)]
    hosts = len(re.findall(r"^\s*host\s", text, re.IGNORECASE | re.MULTILINE))
    if "Include" in found:
        return row(
            "ssh.config", f"{counted(hosts, 'block')}; Include is not followed by llmctl", WARN,
            "hosts of included files are not known here: write node1=ADDRESS, and see llmctl hosts show NODES",
        )  # fmt: skip
    return row("ssh.config", counted(hosts, "block") + ("; Match exec runs a command at every look" if found else ""))


def known(m: Machine) -> Iterable[Row]:
    if m.own_known_hosts is not None:
        keys, _, broken = count_known(m.own_known_hosts)
        if broken:
            yield row(
                "known_hosts",
                f"{counted(keys, 'key')}, {counted(broken, 'line')} that cannot be read",
                WARN,
                "llmctl setup-nodes NODES",
            )
        else:
            yield row("known_hosts", counted(keys, "verified host key"))
    if m.user_known_hosts is not None:
        keys, patterns, broken = count_known(m.user_known_hosts)
        found = counted(keys, "host key")
        if patterns or broken:
            found += (
                f"; {counted(patterns, 'line')} with patterns or authorities and {broken} broken say nothing to llmctl"
            )
        yield row("known_hosts.user", found)


def count_known(text: str) -> tuple[int, int, int]:
    """Of a known_hosts text: lines with one server's key, with patterns or authorities, and broken ones."""
    keys = patterns = broken = 0
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith("@") or any(sign in words[0] for sign in "*?!"):
            patterns += 1
        elif len(words) < 3 or not re.fullmatch(r"[A-Za-z0-9+/]+=*", words[2]):
            broken += 1
        else:
            keys += 1
    return keys, patterns, broken


def records(m: Machine) -> Iterable[Row]:
    for what, count, noun, error in (
        ("inventory", m.inventory, "node", m.inventory_error),
        ("runs", m.runs, "run", m.runs_error),
    ):
        if error:
            head, *rest = error.splitlines()
            yield row(what, head, BAD, next((line.split(":", 1)[1].strip() for line in rest if "next:" in line), ""))
        else:
            yield row(what, f"{counted(count, noun)} known")
