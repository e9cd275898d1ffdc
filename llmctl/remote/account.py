"""What setup-nodes puts on one node, and how exactly that is taken away again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmctl.errors import NodeError
from llmctl.remote.edits import diff, with_block, with_hosts, with_keys, with_stanzas, without_keys
from llmctl.remote.nodefiles import HOSTS, KEY, KNOWN_HOSTS, NodeFiles, write_home_file, write_hosts
from llmctl.remote.secret import Secret
from llmctl.remote.transport import Transport

KEYS = ".ssh/authorized_keys"
CONFIG = ".ssh/config"
KNOWN = f".ssh/{KNOWN_HOSTS}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What must be on one node."""

    keys: Sequence[str]
    """Public keys that may log in."""
    config: Sequence[str] = ()
    """Stanzas of ~/.ssh/config for its own logins."""
    known_hosts: Mapping[str, str] = field(default_factory=dict)
    """Label -> `type blob` of the servers it logs in to."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Name -> address for /etc/hosts; empty: leave it alone."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One file before and after; `after` None deletes it."""

    name: str
    before: str
    after: str | None

    @property
    def diff(self) -> str:
        """The change as a unified diff."""
        return diff(self.before, self.after or "", self.name if self.name == HOSTS else f"~/{self.name}")


def plan_setup(files: NodeFiles, wanted: Wanted, node: str) -> tuple[list[Edit], list[str]]:
    """The edits that bring what is wanted, only where something differs, and the key blobs they add.

    Raises UsageError when a managed block is damaged."""
    keys, blobs = with_keys(files.text(KEYS), wanted.keys, f"{node}:~/{KEYS}")
    after = {KEYS: keys}
    if wanted.config:
        after[CONFIG] = with_stanzas(files.text(CONFIG), wanted.config, f"{node}:~/{CONFIG}")
        after[KNOWN] = _known_hosts(files.text(KNOWN), wanted.known_hosts)
    if wanted.hosts:
        after[HOSTS] = with_hosts(files.text(HOSTS), wanted.hosts, f"{node}:{HOSTS}")
    return [
        Edit(name=name, before=files.text(name), after=text) for name, text in after.items() if text != files.text(name)
    ], blobs


def _known_hosts(text: str, keys: Mapping[str, str]) -> str:
    held = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    return "".join(f"{label} {key}\n" for label, key in {**held, **keys}.items())


def plan_removal(files: NodeFiles, added: Mapping[str, Any], node: str) -> list[Edit]:
    """The edits that take away what `added` records. Raises UsageError when a managed block is damaged."""
    created = added.get("files", [])
    keys = without_keys(files.text(KEYS), added.get("keys", []), f"{node}:~/{KEYS}")
    after: dict[str, str | None] = {KEYS: keys, CONFIG: with_block(files.text(CONFIG), [], f"{node}:~/{CONFIG}")}
    after[HOSTS] = with_block(files.text(HOSTS), [], f"{node}:{HOSTS}")
    for name in (KEYS, CONFIG):
        if not after[name] and name in created:
            after[name] = None
    if KNOWN in created:
        after[KNOWN] = None
    return [
        Edit(name=name, before=files.text(name), after=text)
        for name, text in after.items()
        if name in files.texts and text != files.texts[name]
    ]


def record(files: NodeFiles, edits: Sequence[Edit], blobs: Sequence[str], before: Mapping[str, Any]) -> dict[str, Any]:
    """What this run adds, joined with what an earlier one recorded."""
    written = [edit.name for edit in edits if edit.name != HOSTS]
    modes = {name: mode for name in written if (mode := files.modes.get(name, "600")) != "600"}
    if files.ssh_dir_mode not in (None, "700"):
        modes[".ssh"] = str(files.ssh_dir_mode)
    joined = {
        "keys": _union(before.get("keys", []), blobs),
        "files": _union(before.get("files", []), [name for name in written if name not in files.texts]),
        "modes": {**modes, **before.get("modes", {})},
        "ssh_dir": bool(before.get("ssh_dir")) or files.ssh_dir_mode is None,
        "pair": bool(before.get("pair")),
        "envs": dict(before.get("envs", {})),
    }
    return {name: value for name, value in joined.items() if value}


def _union(old: Sequence[str], new: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*old, *new]))


def carry_out(
    transport: Transport, files: NodeFiles, edits: Sequence[Edit], *, sudo_password: Secret | None = None
) -> None:
    """Write the edits; /etc/hosts only with the right to, which `sudo_password` may give. Raises NodeError when a file
    cannot be written."""
    for edit in edits:
        if edit.after is None:
            continue
        if edit.name == HOSTS:
            if files.uid == 0 or files.sudo or sudo_password:
                write_hosts(transport, edit.after, sudo=files.uid != 0, password=sudo_password)
        else:
            write_home_file(transport, edit.name, edit.after)
    if any(edit.name.startswith(".ssh/") for edit in edits) and files.ssh_dir_mode not in (None, "700"):
        _sh(transport, "chmod 700 ~/.ssh")


def clean_up(transport: Transport, edits: Sequence[Edit], added: Mapping[str, Any]) -> None:
    """The end of a removal: files and folders that only setup-nodes made, and the modes that were."""
    _sh(transport, "; ".join(_last_steps(edits, added)) or "true")


def _last_steps(edits: Sequence[Edit], added: Mapping[str, Any]) -> Iterator[str]:
    yield "cd || exit 1"
    gone = [edit.name for edit in edits if edit.after is None]
    if added.get("pair"):
        gone += [f".ssh/{KEY}", f".ssh/{KEY}.pub"]
    if gone:
        yield "rm -f -- " + " ".join(shlex.quote(name) for name in gone)
    for name, mode in added.get("modes", {}).items():
        yield f"[ ! -e {shlex.quote(name)} ] || chmod {int(mode, 8):o} {shlex.quote(name)}"
    if added.get("ssh_dir"):
        yield "rmdir .ssh 2>/dev/null || true"


def _sh(transport: Transport, script: str) -> None:
    result = transport.run(script)
    if not result.ok:
        raise NodeError("changing files failed", where=transport.node.name, why=result.stderr.strip()[-300:])
