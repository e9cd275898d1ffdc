"""`llmctl setup-nodes`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from llmctl.recipe.hosts import Node
    from llmctl.remote.hostkeys import HostKey
    from llmctl.remote.hostsettings import Settings
    from llmctl.remote.secret import Secret
    from llmctl.workflows.setup_values import Member, Setup


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("setup-nodes")(setup_nodes)


def setup_nodes(
    nodes: list[str] = typer.Argument(None, help="[user@]name[=address][:port]; ranges such as node[01-16]."),
    inventory: Path | None = typer.Option(None, metavar="FILE", help="Hosts with settings of their own (YAML)."),
    user: str | None = typer.Option(None, help="Login name on the nodes."),
    port: int | None = typer.Option(None, min=1, max=65535, help="SSH port of the nodes."),
    identity: Path | None = typer.Option(None, help="A private key for the first login.", exists=True, dir_okay=False),
    password_file: Path | None = typer.Option(None, help="Read the password from this file instead of asking."),
    fingerprint: list[str] = typer.Option([], metavar="HOST=SHA256:...", help="A host key that you know."),
    accept_new: bool = typer.Option(False, "--accept-new", help="Trust unknown host keys without a check."),
    mesh: bool = typer.Option(False, "--mesh", help="Every node logs in to every node, not only the first one."),
    hosts: bool = typer.Option(True, "--hosts/--no-hosts", help="Manage a block in the nodes' /etc/hosts."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would change; change nothing."),
    check: bool = typer.Option(False, "--check", help="Tell whether all is in place; exit 3 when it is not."),
    remove: bool = typer.Option(False, "--remove", help="Take away exactly what was added."),
    forget: bool = typer.Option(False, "--forget", help="Forget the nodes' verified host keys."),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON."),
) -> None:
    """Prepare nodes: keys, host names, and a proof of every login. Running it again changes nothing."""
    from llmctl.errors import UsageError
    from llmctl.remote.firstcontact import FirstContact
    from llmctl.workflows import setup_nodes as workflow
    from llmctl.workflows.setup_values import Wishes

    if sum((dry_run and not remove, check, remove, forget)) > 1:
        raise UsageError("--check, --dry-run, --remove and --forget exclude each other", hint="give one of them")
    parsed, settings = _nodes(nodes or [], inventory)
    asks = sys.stdin.isatty() and sys.stderr.isatty()
    wishes = Wishes(
        user=user,
        port=port,
        identity=identity,
        password=lambda: None if check else _password(password_file, asks=asks),
        password_of=lambda node: None if check else _password(None, asks=asks, node=node),
        settings=settings,
        first_contact=FirstContact(
            fingerprints=_fingerprints(fingerprint), accept_new=accept_new, confirm=_confirm if asks else None
        ),
        mesh=mesh,
        hosts=hosts,
        mode="dry-run" if dry_run else "check" if check else "apply",
        progress=(lambda text: print(f"... {text}", file=sys.stderr)) if sys.stderr.isatty() else (lambda _: None),  # noqa: T201
    )
    if forget:
        known = workflow.forget_nodes(parsed, wishes)
        typer.echo(f"forgotten: {', '.join(known)}" if known else "no host key of these nodes was known")
        return
    result = workflow.remove_nodes(parsed, wishes) if remove else workflow.setup_nodes(parsed, wishes)
    typer.echo(json.dumps(_as_json(result), indent=2, ensure_ascii=False) if as_json else _as_text(result, remove))
    for error in result.errors:
        typer.echo(f"llmctl: {error}", err=True)
    raise typer.Exit(int(result.exit_code))


def _nodes(words: list[str], inventory: Path | None) -> tuple[tuple[Node, ...], dict[str, Settings]]:
    """The nodes of the command and what the inventory file says of them; without words all of its hosts."""
    from llmctl.errors import UsageError
    from llmctl.recipe.hosts import parse_nodes

    if inventory is None:
        if not words:
            raise UsageError("no node is named", hint="llmctl setup-nodes node1=10.0.0.1, or --inventory FILE")
        return parse_nodes(words), {}
    from llmctl.remote.hostsettings import chosen, read_settings

    settings = read_settings(inventory)
    if words:
        settings = chosen(settings, parse_nodes(words))
    return tuple(each.node for each in settings), {each.node.name: each for each in settings}


def _password(file: Path | None, *, asks: bool, node: str = "the nodes") -> Secret | None:
    """The password, from a file or the prompt; None where there is neither."""
    from llmctl.remote.secret import Secret, read_password

    if file is not None:
        return read_password(file)
    if not asks:
        return None
    import getpass

    return Secret(getpass.getpass(f"password on {node}: "))


def _confirm(node: str, label: str, key: HostKey) -> bool:
    """Ask whether a fingerprint is the right one."""
    typer.echo(f"{node} ({label}) shows {key.kind} {key.fingerprint}", err=True)
    return typer.confirm("is this the node's own key?", default=False, err=True)


def _fingerprints(texts: list[str]) -> dict[str, str]:
    from llmctl.errors import UsageError

    found = {}
    for text in texts:
        host, _, value = text.partition("=")
        if not host or not value.startswith("SHA256:"):
            raise UsageError(f"--fingerprint {text!r} is not understood", hint="--fingerprint node1=SHA256:...")
        found[host] = value
    return found


def _as_json(result: Setup) -> dict[str, Any]:
    return {
        "schema": 1,
        "mode": result.mode,
        "nodes": [_member(member) for member in result.members],
        "logins": [
            {"from": login.source, "to": login.node, "ok": login.error is None, "error": _error(login.error)}
            for login in result.logins
        ],
        "exit_code": int(result.exit_code),
    }


def _member(member: Member) -> dict[str, Any]:
    return {
        "name": member.name,
        "address": member.target.address,
        "port": member.target.port,
        "user": member.target.user,
        "host_key": member.key.fingerprint if member.key else None,
        "trust": str(member.trust) if member.trust else None,
        "python": (member.files.python or None) if member.files else None,
        "pdsh": (member.files.pdsh or None) if member.files else None,
        "changes": member.changes,
        "diffs": member.diffs,
        "problems": member.problems,
        "notes": member.notes,
        "error": _error(member.error),
    }


def _error(error: Exception | None) -> str | None:
    return None if error is None else str(error)


def _as_text(result: Setup, removed: bool) -> str:
    lines = []
    for member in result.members:
        lines += [*member.diffs, _row(result, member, removed)]
        if member.trust == "accepted without a check":
            lines.append(
                f"  the host key was accepted without a check: {member.key.fingerprint if member.key else '?'}"
            )
        lines += [f"  unfit: {text}" for text in member.problems]
        lines += [f"  note: {text}" for text in member.notes]
    if result.logins:
        good = sum(login.error is None for login in result.logins)
        lines.append(f"{good} of {len(result.logins)} logins proven by new connections")
    return "\n".join(lines)


def _row(result: Setup, member: Member, removed: bool) -> str:
    verbs = {"apply": "removed" if removed else "changed", "dry-run": "would change", "check": "not in place"}
    if member.error is not None:
        state = f"FAILED: {member.error.what}"
    elif member.changes:
        state = f"{verbs[result.mode]}: {', '.join(member.changes)}"
    else:
        state = "nothing to do"
    versions = f"python {member.files.python or '-'}, pdsh {member.files.pdsh or '-'}; " if member.files else ""
    return f"{member.name} ({member.target.user}@{member.target.label}): {versions}{state}"
