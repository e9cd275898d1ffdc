"""`llmctl setup-nodes`: from a password to keys, names and proven logins on every node at once."""

from __future__ import annotations

from collections.abc import Sequence

from llmctl.checks.folding import fold
from llmctl.errors import NodeError, UsageError
from llmctl.recipe.hosts import Node
from llmctl.remote.account import carry_out, clean_up, plan_removal
from llmctl.remote.connect import resolve
from llmctl.remote.fanout import let_end
from llmctl.remote.hostkeys import forget
from llmctl.remote.hostsettings import remembered
from llmctl.remote.inventory import Entry, load_inventory, save_inventory
from llmctl.remote.nodefiles import HOSTS, KEY, read_files
from llmctl.workflows.setup_env import EnvState, EnvWish, differences, drop_environment, environments
from llmctl.workflows.setup_proof import prove
from llmctl.workflows.setup_result import Setup
from llmctl.workflows.setup_steps import (
    become_root,
    close,
    each,
    keep_begun,
    log_in_all,
    look,
    make_node_pair,
    meet,
    own_pair,
    write,
)
from llmctl.workflows.setup_values import Login, Member, Wishes


def setup_nodes(nodes: Sequence[Node], wishes: Wishes, environment: EnvWish | None = None) -> Setup:
    """Prepare all nodes at once, and with `environment` make it on all that are prepared; each node has its own result,
    and one that fails does not stop the others.

    Ctrl-C ends it; what was done until then is told. Raises UsageError for input that concerns no single node."""
    members = _members(nodes, wishes)
    sources = members if wishes.mesh else members[:1]
    logins: list[Login] = []
    states: list[EnvState] = []
    interrupted = False
    try:
        public = own_pair(make=wishes.mode == "apply")
        wishes.progress(f"verifying the host keys of {len(members)} nodes")
        meet(members, wishes)
        wishes.progress("logging in")
        log_in_all(members, wishes)
        wishes.progress("looking at the nodes")
        each(members, lambda member: look(member, members[0]))
        each(sources, lambda member: make_node_pair(member, wishes.mode), stop=let_end)
        wishes.progress("writing keys and names")
        write(members, sources, public, wishes)
        if wishes.mode != "dry-run":
            wishes.progress("proving the logins")
            logins = prove(members, sources)
        states = environments(members, environment, wishes.mode, wishes.progress) if environment else []
    except KeyboardInterrupt:
        interrupted = True
        keep_begun(members)
    finally:
        close(members)
    return Setup(
        mode=wishes.mode,
        members=tuple(members),
        logins=tuple(logins),
        environments=tuple(states),
        differences=tuple(differences(states)),
        promised=0 if wishes.mode == "dry-run" else len(members) * (1 + len(sources)),
        interrupted=interrupted,
    )


def remove_nodes(nodes: Sequence[Node], wishes: Wishes) -> Setup:
    """Take away from all nodes exactly what `setup_nodes` added, and forget them."""
    members = _members(nodes, wishes)
    inventory = load_inventory()
    interrupted = False
    try:
        meet(members, wishes)
        log_in_all(members, wishes)
        each(members, lambda member: _plan_to_remove(member, inventory.get(member.name)))
        if wishes.mode == "apply":
            for member in members:  # one after the other: the person may be asked
                if member.error is None and HOSTS in member.changes:
                    become_root(member, {member.name: ""}, wishes)
            each(members, lambda member: _remove(member, inventory.get(member.name)), stop=let_end)
    except KeyboardInterrupt:
        interrupted = True
        for member in members:
            if not member.touched:
                member.changes, member.diffs = [], []
    finally:
        close(members)
    if wishes.mode == "apply":
        gone = [member for member in members if member.done]
        save_inventory({name: inventory[name] for name in inventory.keys() - {member.name for member in gone}})
        stay = [name for name, entry in inventory.items() if entry.added and name not in {m.name for m in members}]
        for member in gone:
            forget(member.target.label)
            if stay:
                undo = f"llmctl setup-nodes {' '.join(stay)} --remove, then set up again those that stay"
                held = f"{fold(stay)} may still hold {member.name}'s key and name"
                member.notes.append(f"{held}; to take these away too: {undo}")
    return Setup(mode=wishes.mode, members=tuple(members), interrupted=interrupted)


def forget_nodes(nodes: Sequence[Node], wishes: Wishes) -> list[str]:
    """Forget the verified host keys of these nodes on the launcher; names those that had one."""
    return [member.name for member in _members(nodes, wishes) if forget(member.target.label)]


def _members(nodes: Sequence[Node], wishes: Wishes) -> list[Member]:
    strangers = wishes.first_contact.fingerprints.keys() - {node.name for node in nodes}
    if strangers:
        raise UsageError(f"--fingerprint names no node of this command: {', '.join(sorted(strangers))}")
    inventory = remembered(load_inventory(), wishes.settings)
    return [
        Member(
            target=resolve(node, user=wishes.user, port=wishes.port, inventory=inventory),
            entry=inventory.get(node.name),
        )
        for node in nodes
    ]


def _plan_to_remove(member: Member, entry: Entry | None) -> None:
    """Look at the node and note what would go."""
    member.files = read_files(member.link)
    added = entry.added if entry else {}
    edits = plan_removal(member.files, added, member.name)
    member.changes += [edit.name if edit.name == HOSTS else f"~/{edit.name}" for edit in edits]
    member.diffs += [edit.diff for edit in edits]
    if added.get("pair"):
        member.changes.append(f"~/.ssh/{KEY}")
    member.changes += added.get("envs", {})


def _remove(member: Member, entry: Entry | None) -> None:
    added = entry.added if entry else {}
    member.touched = bool(member.changes)
    for path, folders in added.get("envs", {}).items():
        drop_environment(member, path, folders)
    if HOSTS in member.changes and not member.may_be_root:
        raise NodeError(
            f"{HOSTS} needs root, and sudo asks for a password or is not there",
            where=member.name,
            hint=f"llmctl setup-nodes {member.name} --remove --password-file FILE",
        )
    edits = plan_removal(member.found, added, member.name)
    carry_out(member.link, member.found, edits, sudo_password=member.sudo_password)
    clean_up(member.link, edits, added)
    member.done = True
