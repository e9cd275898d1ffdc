"""The steps of setup-nodes, each done on all nodes at once; a node that fails keeps its error and drops out."""

from __future__ import annotations

import ipaddress
import re
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmctl.errors import HostKeyError, UsageError
from llmctl.remote.account import Edit, Wanted, carry_out, plan_setup, record
from llmctl.remote.connect import Target, open_target, peek
from llmctl.remote.edits import other_mappings
from llmctl.remote.fanout import fan_out, let_end
from llmctl.remote.firstcontact import decide
from llmctl.remote.hostkeys import HostKey, remember
from llmctl.remote.inventory import Entry, load_inventory, save_inventory
from llmctl.remote.login import Credentials, own_key
from llmctl.remote.nodefiles import HOSTS, KEY, KNOWN_HOSTS, make_pair, read_files, sudo_takes
from llmctl.remote.openssh import node_config
from llmctl.remote.secret import Secret, read_password
from llmctl.workflows.setup_values import Member, Mode, Wishes

OLDEST_PYTHON = (3, 6)
_GIVE_LOGIN = "give --password-file FILE or --identity KEY, or run it at a terminal to be asked"
_CHECK_LOGIN = "is the password right, and does the node's sshd take passwords for this user?"


def each(members: Iterable[Member], work: Callable[[Member], None], *, stop: Callable[[], None] | None = None) -> None:
    """Do `work` on all members without an error at once; an error stays with its member. `stop` as for `fan_out`."""
    for outcome in fan_out([member for member in members if member.error is None], work, stop=stop):
        outcome.item.error = outcome.error


def close(members: Iterable[Member]) -> None:
    """Close every open connection."""
    for member in members:
        if member.transport is not None:
            member.transport.close()
            member.transport = None


def own_pair(*, make: bool) -> str:
    """The launcher's public key line; the pair is made when it is missing and `make` says so."""
    path = own_key()
    public = path.with_name(path.name + ".pub")
    if not path.exists():
        if not make:
            return "ssh-ed25519 (the launcher's key is made by the first real run)"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"llmctl@{socket.gethostname()}", "-f", str(path)]
        try:
            subprocess.run(argv, check=True, capture_output=True, text=True)
            public.chmod(0o600)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            raise UsageError("the launcher's key cannot be made", where=str(path), why=why.strip()) from error
    return public.read_text(encoding="utf-8").strip()


def meet(members: list[Member], wishes: Wishes) -> None:
    """Decide about every host key before any password is asked for."""

    def show(member: Member) -> None:
        member.key = peek(member.target)

    each(members, show)
    for member in members:  # one after the other: the person may be asked
        if member.error is not None or member.key is None:
            continue
        try:
            member.trust = decide(member.target, member.key, wishes.first_contact)
        except HostKeyError as error:
            member.error = error
            continue
        if wishes.mode == "apply":
            remember(member.target.label, member.key)


def pinned(expected: HostKey | None) -> Callable[[Target, HostKey], None]:
    """Accepts this one host key."""

    def verify(target: Target, key: HostKey) -> None:
        if key != expected:
            raise HostKeyError("the host key changed between two connections", where=target.node.name)

    return verify


def log_in_all(members: list[Member], wishes: Wishes) -> None:
    """With keys where they are taken; else with the node's own password file, or the password that is asked for once;
    where that is refused, with one that is asked for that node."""

    def attempt(passwords: Mapping[str, Secret]) -> Callable[[Member], None]:
        def work(member: Member) -> None:
            password = passwords.get(member.name)
            credentials = Credentials(identity=wishes.identity)
            if password is not None:
                credentials = Credentials(password=password, only_own_key=True)
            member.transport = open_target(member.target, credentials=credentials, verify=pinned(member.key))
            member.password = password

        return work

    tried = [member for member in members if member.error is None]
    each(tried, attempt({}))
    passwords = _passwords(_refused(tried), wishes)
    _again(_refused(tried), passwords, attempt)
    left = [member for member in _refused(tried) if not _own_file(member, wishes)]
    if passwords:
        asked = {member.name: word for member in left if (word := wishes.password_of(member.name)) is not None}
        _again(left, asked, attempt)
    for member in _refused(tried):
        if member.error is not None:
            member.error.hint = _CHECK_LOGIN if member.name in passwords else _GIVE_LOGIN


def _again(
    members: Iterable[Member],
    passwords: Mapping[str, Secret],
    attempt: Callable[[Mapping[str, Secret]], Callable[[Member], None]],
) -> None:
    """Try those members once more that have a password now."""
    able = [member for member in members if member.name in passwords]
    for member in able:
        member.error = None
    each(able, attempt(passwords))


def _refused(members: Iterable[Member]) -> list[Member]:
    return [member for member in members if member.error is not None and "login was refused" in member.error.what]


def _own_file(member: Member, wishes: Wishes) -> Path | None:
    settings = wishes.settings.get(member.name)
    return settings.password_file if settings else None


def _passwords(members: Iterable[Member], wishes: Wishes) -> dict[str, Secret]:
    """Node -> its password; the common one is asked for only when a node needs it."""
    found: dict[str, Secret] = {}
    others = []
    for member in members:
        file = _own_file(member, wishes)
        if file is None:
            others.append(member.name)
        else:
            found[member.name] = read_password(file)
    password = wishes.password() if others else None
    return found if password is None else {**found, **dict.fromkeys(others, password)}


def look(member: Member, first: Member) -> None:
    """Read the node's files and versions, and judge the versions."""
    member.files = files = read_files(member.link, member.python)
    version = tuple(int(part) for part in re.findall(r"\d+", files.python)[:2])
    if not version:
        member.problems.append(
            f"there is no {member.python}, which `check` and `run` need: install Python 3.6 or newer"
        )
    elif version < OLDEST_PYTHON:
        member.problems.append(f"{member.python} is {files.python}; 3.6 or newer is needed")
    if member is first and not files.pdsh:
        member.notes.append("pdsh is not installed; only `launch.backend: pdsh` needs it, and only on the first node")


def make_node_pair(member: Member, mode: Mode) -> None:
    """The public key with which the node logs in to others; made there when it is missing."""
    public = f".ssh/{KEY}.pub"
    if public in member.found.texts:
        member.public_key = member.found.texts[public].strip()
        return
    member.changes.append(f"~/.ssh/{KEY}")
    if mode == "apply":
        member.touched = member.made_pair = True
        member.public_key = make_pair(member.link, f"llmctl@{member.name}")
    else:
        member.public_key = f"ssh-ed25519 (the key that {member.name} makes in the real run)"


def write(members: list[Member], sources: Sequence[Member], public: str, wishes: Wishes) -> None:
    """Bring keys, ssh configuration and names to every node, and keep what was added in the inventory."""
    alive = [member for member in members if member.error is None]
    addresses = {}
    for member in alive:
        address = _ip(member.target)
        if address is not None:
            addresses[member.name] = address
        elif wishes.hosts:
            member.notes.append(f"{member.target.address} is no address that other nodes could use: not in {HOSTS}")
    if wishes.mode == "apply" and wishes.hosts:
        for member in alive:  # one after the other: the person may be asked
            become_root(member, addresses, wishes)
    config = node_config([member.target for member in alive], f"~/.ssh/{KEY}", f"~/.ssh/{KNOWN_HOSTS}")
    known = {member.target.label: f"{member.key.kind} {member.key.blob}" for member in alive if member.key}
    keys = [public, *(member.public_key for member in sources if member.public_key)]
    known_before = load_inventory()
    entries: dict[str, Entry] = {}

    def one(member: Member) -> None:
        is_source = member in sources
        wanted = Wanted(
            keys=keys,
            config=config if is_source else (),
            known_hosts=known if is_source else {},
            hosts=addresses if wishes.hosts else {},
        )
        before = known_before.get(member.name)
        entry = _entry(member, dict(before.added) if before else {})
        entries[member.name] = entry
        edits, blobs = plan_setup(member.found, wanted, member.name)
        _tell(member, edits, wanted)
        if wishes.mode == "apply":  # recorded first: a write that breaks off must be removable too
            entries[member.name] = replace(entry, added=record(member.found, edits, blobs, entry.added))
            member.touched = member.touched or bool(edits)
            carry_out(member.link, member.found, edits, sudo_password=member.sudo_password)
            member.done = True

    try:
        each(alive, one, stop=let_end)
    finally:
        if wishes.mode == "apply" and entries:
            save_inventory({**load_inventory(), **entries})


def keep_begun(members: Iterable[Member]) -> None:
    """Note in the inventory the nodes on which something was begun, so that their names are enough to go on or to take
    it away."""
    inventory = load_inventory()
    begun = [member for member in members if member.touched]
    for member in begun:
        before = inventory.get(member.name)
        inventory[member.name] = _entry(member, dict(before.added) if before else {})
    if begun:
        save_inventory(inventory)


def become_root(member: Member, addresses: Mapping[str, str], wishes: Wishes) -> None:
    """Find the password that sudo takes, where /etc/hosts must change and only that is missing."""
    lines = {tuple(line.split()[:2]) for line in member.found.text(HOSTS).splitlines()}
    if member.may_be_root or all((address, name) in lines for name, address in addresses.items()):
        return
    file = _own_file(member, wishes)
    password = member.password or (read_password(file) if file else wishes.password())
    if password is not None and sudo_takes(member.link, password):
        member.sudo_password = password


def _entry(member: Member, added: dict[str, Any]) -> Entry:
    target = member.target
    if member.made_pair:
        added["pair"] = True
        added["ssh_dir"] = bool(added.get("ssh_dir")) or member.found.ssh_dir_mode is None
    known = member.entry or Entry(address="", user="")
    return replace(known, address=target.address, user=target.user, port=target.port, added=added)


def _tell(member: Member, edits: Sequence[Edit], wanted: Wanted) -> None:
    """Note what changes, and what only a person can do."""
    for edit in edits:
        if edit.name == HOSTS and not member.may_be_root:
            member.notes.append(
                f"{HOSTS} needs root, and sudo asks for a password or is not there; add it by hand:\n{edit.diff}"
            )
            continue
        member.changes.append(edit.name if edit.name == HOSTS else f"~/{edit.name}")
        member.diffs.append(edit.diff)
    member.notes += other_mappings(member.found.text(HOSTS), wanted.hosts, HOSTS)


def _ip(target: Target) -> str | None:
    """The address for /etc/hosts; None for a name that the launcher cannot turn into one and for loopback."""
    try:
        address = ipaddress.ip_address(socket.getaddrinfo(target.address, None)[0][4][0])
    except (OSError, ValueError):
        return None
    return None if address.is_loopback else str(address)
