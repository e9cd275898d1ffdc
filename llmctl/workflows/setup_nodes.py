"""`llmctl setup-nodes`: from a password to keys, names and proven logins on every node at once."""

from __future__ import annotations

import ipaddress
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llmctl.errors import ExitCode, HostKeyError, LlmctlError, NodeError, UsageError, worst
from llmctl.recipe.hosts import Node
from llmctl.remote.account import Wanted, carry_out, clean_up, plan_removal, plan_setup, record
from llmctl.remote.connect import Target, open_target, peek, resolve
from llmctl.remote.edits import other_mappings
from llmctl.remote.fanout import fan_out
from llmctl.remote.firstcontact import FirstContact, Trust, decide
from llmctl.remote.hostkeys import HostKey, forget, remember
from llmctl.remote.inventory import Entry, load_inventory, save_inventory
from llmctl.remote.login import Credentials, own_key
from llmctl.remote.nodefiles import HOSTS, KEY, KNOWN_HOSTS, NodeFiles, make_pair, read_files
from llmctl.remote.openssh import complaint, node_config
from llmctl.remote.secret import Secret
from llmctl.remote.ssh import SshTransport

Mode = Literal["apply", "dry-run", "check"]
OLDEST_PYTHON = (3, 6)


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the person asked for."""

    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    password: Callable[[], Secret | None] = lambda: None
    """Gives the password when a node needs one; called at most once, after the host keys were verified."""
    first_contact: FirstContact = field(default_factory=FirstContact)
    mesh: bool = False
    hosts: bool = True
    mode: Mode = "apply"
    progress: Callable[[str], None] = lambda _: None


@dataclass(kw_only=True)
class Member:
    """One node on its way through the set-up, and what became of it."""

    target: Target
    trust: Trust | None = None
    changes: list[str] = field(default_factory=list)
    """Files that were changed, or would be."""
    diffs: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What makes the node unfit; exit 3."""
    notes: list[str] = field(default_factory=list)
    error: LlmctlError | None = None
    files: NodeFiles | None = None
    key: HostKey | None = None
    transport: SshTransport | None = None
    public_key: str = ""
    made_pair: bool = False

    @property
    def name(self) -> str:
        """The node's name."""
        return self.target.node.name

    @property
    def link(self) -> SshTransport:
        """The open connection, after the login."""
        if self.transport is None:
            raise RuntimeError(f"{self.name}: not logged in")
        return self.transport

    @property
    def found(self) -> NodeFiles:
        """What was found on the node, after the look."""
        if self.files is None:
            raise RuntimeError(f"{self.name}: not looked at")
        return self.files


@dataclass(frozen=True, kw_only=True)
class Login:
    """One promised login, proven by a new connection; `error` when it failed."""

    source: str
    """`launcher` or a node's name."""
    node: str
    error: LlmctlError | None = None


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The result for all nodes."""

    mode: Mode
    members: tuple[Member, ...]
    logins: tuple[Login, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """5 for a node that failed, 3 for one that is unfit or, with `check`, not set up; 2 for bad input."""
        codes = [error.exit_code for error in self.errors]
        if any(member.problems or (self.mode == "check" and member.changes) for member in self.members):
            codes.append(ExitCode.BLOCKED)
        return worst(codes)

    @property
    def errors(self) -> list[LlmctlError]:
        """Everything that failed, node by node."""
        found = [member.error for member in self.members] + [login.error for login in self.logins]
        return [error for error in found if error is not None]


def setup_nodes(nodes: Sequence[Node], wishes: Wishes) -> Setup:
    """Prepare all nodes at once; each has its own result, and one that fails does not stop the others.

    Raises UsageError for input that concerns no single node."""
    members = _members(nodes, wishes)
    try:
        public = _own_pair(make=wishes.mode == "apply")
        wishes.progress(f"verifying the host keys of {len(members)} nodes")
        _meet(members, wishes)
        wishes.progress("logging in")
        _log_in(members, wishes)
        wishes.progress("looking at the nodes")
        _each(members, lambda member: _look(member, members[0]))
        sources = members if wishes.mesh else members[:1]
        _each(sources, lambda member: _pair(member, wishes.mode))
        wishes.progress("writing keys and names")
        _write(members, sources, public, wishes)
        logins: list[Login] = []
        if wishes.mode != "dry-run":
            wishes.progress("proving the logins")
            logins = _prove(members, sources)
    finally:
        _close(members)
    return Setup(mode=wishes.mode, members=tuple(members), logins=tuple(logins))


def remove_nodes(nodes: Sequence[Node], wishes: Wishes) -> Setup:
    """Take away from all nodes exactly what `setup_nodes` added, and forget them."""
    members = _members(nodes, wishes)
    inventory = load_inventory()
    try:
        _meet(members, wishes)
        _log_in(members, wishes)
        _each(members, lambda member: _remove(member, inventory.get(member.name), wishes.mode))
    finally:
        _close(members)
    if wishes.mode == "apply":
        gone = [member for member in members if member.error is None]
        save_inventory({name: inventory[name] for name in inventory.keys() - {member.name for member in gone}})
        for member in gone:
            forget(member.target.label)
    return Setup(mode=wishes.mode, members=tuple(members))


def forget_nodes(nodes: Sequence[Node], wishes: Wishes) -> list[str]:
    """Forget the verified host keys of these nodes on the launcher; names those that had one."""
    return [member.name for member in _members(nodes, wishes) if forget(member.target.label)]


def _members(nodes: Sequence[Node], wishes: Wishes) -> list[Member]:
    strangers = wishes.first_contact.fingerprints.keys() - {node.name for node in nodes}
    if strangers:
        raise UsageError(f"--fingerprint names no node of this command: {', '.join(sorted(strangers))}")
    inventory = load_inventory()
    return [Member(target=resolve(node, user=wishes.user, port=wishes.port, inventory=inventory)) for node in nodes]


def _each(members: Iterable[Member], work: Callable[[Member], None]) -> None:
    """Do `work` on all members without an error at once; an error stays with its member."""
    for outcome in fan_out([member for member in members if member.error is None], work):
        outcome.item.error = outcome.error


def _close(members: Iterable[Member]) -> None:
    for member in members:
        if member.transport is not None:
            member.transport.close()
            member.transport = None


def _own_pair(*, make: bool) -> str:
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
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            raise UsageError("the launcher's key cannot be made", where=str(path), why=why.strip()) from error
    return public.read_text(encoding="utf-8").strip()


def _meet(members: list[Member], wishes: Wishes) -> None:
    """Decide about every host key before any password is asked for."""

    def show(member: Member) -> None:
        member.key = peek(member.target)

    _each(members, show)
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


def _pinned(expected: HostKey | None) -> Callable[[Target, HostKey], None]:
    def verify(target: Target, key: HostKey) -> None:
        if key != expected:
            raise HostKeyError("the host key changed between two connections", where=target.node.name)

    return verify


def _log_in(members: list[Member], wishes: Wishes) -> None:
    """With keys where they are taken, else with the password, which is asked for once."""

    def attempt(credentials: Credentials) -> Callable[[Member], None]:
        def work(member: Member) -> None:
            member.transport = open_target(member.target, credentials=credentials, verify=_pinned(member.key))

        return work

    alive = [member for member in members if member.error is None]
    _each(alive, attempt(Credentials(identity=wishes.identity)))
    refused = [member for member in alive if member.error is not None and "login was refused" in member.error.what]
    password = wishes.password() if refused else None
    if password is not None:
        for member in refused:
            member.error = None
        _each(refused, attempt(Credentials(password=password, only_own_key=True)))


def _look(member: Member, first: Member) -> None:
    member.files = files = read_files(member.link)
    version = tuple(int(part) for part in re.findall(r"\d+", files.python)[:2])
    if not version:
        member.problems.append("there is no python3, which `check` and `run` need: install Python 3.6 or newer")
    elif version < OLDEST_PYTHON:
        member.problems.append(f"python3 is {files.python}; 3.6 or newer is needed")
    if member is first and not files.pdsh:
        member.notes.append("pdsh is not installed; only `launch.backend: pdsh` needs it, and only on the first node")


def _pair(member: Member, mode: Mode) -> None:
    public = f".ssh/{KEY}.pub"
    if public in member.found.texts:
        member.public_key = member.found.texts[public].strip()
        return
    member.changes.append(f"~/.ssh/{KEY}")
    if mode == "apply":
        member.public_key = make_pair(member.link, f"llmctl@{member.name}")
        member.made_pair = True


def _write(members: list[Member], sources: Sequence[Member], public: str, wishes: Wishes) -> None:
    alive = [member for member in members if member.error is None]
    addresses = {}
    for member in alive:
        address = _ip(member.target)
        if address is not None:
            addresses[member.name] = address
        elif wishes.hosts:
            member.notes.append(f"{member.target.address} is no address that other nodes could use: not in {HOSTS}")
    config = node_config([member.target for member in alive], f"~/.ssh/{KEY}", f"~/.ssh/{KNOWN_HOSTS}")
    known = {member.target.label: f"{member.key.kind} {member.key.blob}" for member in alive if member.key}
    keys = [public, *(member.public_key for member in sources if member.public_key)]
    inventory = load_inventory()

    def one(member: Member) -> None:
        is_source = member in sources
        wanted = Wanted(
            keys=keys,
            config=config if is_source else (),
            known_hosts=known if is_source else {},
            hosts=addresses if wishes.hosts else {},
        )
        added = _set_up(member, wanted, inventory.get(member.name), wishes.mode)
        inventory[member.name] = Entry(
            address=member.target.address, user=member.target.user, port=member.target.port, added=added
        )

    _each(alive, one)
    if wishes.mode == "apply":
        save_inventory(inventory)


def _ip(target: Target) -> str | None:
    """The address for /etc/hosts; None for a name that the launcher cannot turn into one and for loopback."""
    try:
        address = ipaddress.ip_address(socket.getaddrinfo(target.address, None)[0][4][0])
    except (OSError, ValueError):
        return None
    return None if address.is_loopback else str(address)


def _set_up(member: Member, wanted: Wanted, entry: Entry | None, mode: Mode) -> dict[str, Any]:
    edits, blobs = plan_setup(member.found, wanted, member.name)
    before = dict(entry.added) if entry else {}
    if member.made_pair:
        before["pair"] = True
        before["ssh_dir"] = bool(before.get("ssh_dir")) or member.found.ssh_dir_mode is None
    may_hosts = member.found.uid == 0 or member.found.sudo
    for edit in edits:
        if edit.name == HOSTS and not may_hosts:
            member.notes.append(f"{HOSTS} needs root, and sudo asks for a password; add it by hand:\n{edit.diff}")
            continue
        member.changes.append(edit.name if edit.name == HOSTS else f"~/{edit.name}")
        member.diffs.append(edit.diff)
    member.notes += other_mappings(member.found.text(HOSTS), wanted.hosts, HOSTS)
    if mode == "apply":
        carry_out(member.link, member.found, edits)
        return record(member.found, edits, blobs, before)
    return before


def _prove(members: Sequence[Member], sources: Sequence[Member]) -> list[Login]:
    """Every promised login, each by a new connection that can ask nothing."""

    def from_launcher(member: Member) -> None:
        open_target(member.target, credentials=Credentials(only_own_key=True), verify=_pinned(member.key)).close()

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


def _from_node(source: Member, targets: Sequence[Member]) -> list[Login]:
    if not source.found.ssh:
        error = NodeError("ssh is not installed there", where=source.name, hint="install the OpenSSH client")
        return [Login(source=source.name, node=member.name, error=error) for member in targets]
    one = "ssh -o BatchMode=yes -o ConnectTimeout=10 -- {0} true </dev/null 2>&1; echo; echo mark {0} $?"
    script = "\n".join(f"( {one.format(shlex.quote(member.name))} ) > $d/{i} &" for i, member in enumerate(targets))
    numbers = " ".join(str(i) for i in range(len(targets)))
    collected = source.link.run(f'd=$(mktemp -d) || exit 1\n{script}\nwait\ncd $d && cat {numbers}; rm -r "$d"')
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


def _remove(member: Member, entry: Entry | None, mode: Mode) -> None:
    files = read_files(member.link)
    added = dict(entry.added) if entry else {}
    edits = plan_removal(files, added, member.name)
    member.changes += [edit.name if edit.name == HOSTS else f"~/{edit.name}" for edit in edits]
    member.diffs += [edit.diff for edit in edits]
    if added.get("pair"):
        member.changes.append(f"~/.ssh/{KEY}")
    if mode == "apply":
        if any(edit.name == HOSTS for edit in edits) and not (files.uid == 0 or files.sudo):
            raise NodeError(f"{HOSTS} needs root, and sudo asks for a password", where=member.name)
        carry_out(member.link, files, edits)
        clean_up(member.link, edits, added)
