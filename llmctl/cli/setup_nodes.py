"""`llmctl setup-nodes`."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from llmctl.cli.setup_shown import as_json as plain
from llmctl.cli.setup_shown import as_text

if TYPE_CHECKING:
    from llmctl.remote.hostkeys import HostKey
    from llmctl.remote.secret import Secret
    from llmctl.workflows.setup_env import EnvWish
    from llmctl.workflows.setup_words import Asked


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("setup-nodes")(setup_nodes)


def setup_nodes(
    nodes: list[str] = typer.Argument(
        None, help="[user@]name[=address][:port]; ranges such as node[01-16]; or a recipe."
    ),
    inventory: Path | None = typer.Option(None, metavar="FILE", help="Hosts with settings of their own (YAML)."),
    user: str | None = typer.Option(None, help="Login name on the nodes."),
    port: int | None = typer.Option(None, min=1, max=65535, help="SSH port of the nodes."),
    identity: Path | None = typer.Option(None, help="A private key for the first login.", exists=True, dir_okay=False),
    password_file: Path | None = typer.Option(None, help="Read the password from this file instead of asking."),
    fingerprint: list[str] = typer.Option([], metavar="HOST=SHA256:...", help="A host key that you know."),
    accept_new: bool = typer.Option(False, "--accept-new", help="Trust unknown host keys without a check."),
    mesh: bool = typer.Option(False, "--mesh", help="Every node logs in to every node, not only the first one."),
    hosts: bool = typer.Option(True, "--hosts/--no-hosts", help="Manage a block in the nodes' /etc/hosts."),
    env: Path | None = typer.Option(None, metavar="FILE|DIR", help="Make this Python environment on every node."),
    env_python: str | None = typer.Option(None, help="What it is made with there: an interpreter, or conda[=3.11]."),
    env_path: str | None = typer.Option(None, metavar="REMOTE", help="Where it lies; default: WORKDIR/env."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would change; change nothing."),
    check: bool = typer.Option(False, "--check", help="Tell whether all is in place; exit 3 when it is not."),
    remove: bool = typer.Option(False, "--remove", help="Take away exactly what was added."),
    forget: bool = typer.Option(False, "--forget", help="Forget the nodes' verified host keys."),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON."),
) -> None:
    """Prepare nodes: keys, host names, and a proof of every login. Running it again changes nothing."""
    from llmctl.errors import UsageError
    from llmctl.remote.firstcontact import FirstContact
    from llmctl.remote.secret import read_password
    from llmctl.workflows import setup_nodes as workflow
    from llmctl.workflows.setup_values import Wishes
    from llmctl.workflows.setup_words import read_words

    if sum((dry_run and not remove, check, remove, forget)) > 1:
        raise UsageError("--check, --dry-run, --remove and --forget exclude each other", hint="give one of them")
    if env is not None and (remove or forget):
        raise UsageError("--env is for making, --remove takes all environments away", hint="leave --env out")
    asked = read_words(nodes or [], inventory)
    if password_file is not None:
        read_password(password_file)  # before any node is asked
    asks = sys.stdin.isatty() and sys.stderr.isatty()
    wishes = Wishes(
        user=user or asked.user,
        port=port or asked.port,
        identity=identity,
        password=cache(lambda: None if check else _password(password_file, asks=asks)),
        password_of=lambda node: None if check else _password(None, asks=asks, node=node),
        settings=asked.settings,
        first_contact=FirstContact(
            fingerprints=_fingerprints(fingerprint), accept_new=accept_new, confirm=_confirm if asks else None
        ),
        mesh=mesh,
        hosts=hosts,
        mode="dry-run" if dry_run else "check" if check else "apply",
        progress=(lambda text: print(f"... {text}", file=sys.stderr)) if sys.stderr.isatty() else (lambda _: None),  # noqa: T201
    )
    if forget:
        known = workflow.forget_nodes(asked.nodes, wishes)
        typer.echo(f"forgotten: {', '.join(known)}" if known else "no host key of these nodes was known")
        return
    if remove:
        result = workflow.remove_nodes(asked.nodes, wishes)
    else:
        result = workflow.setup_nodes(asked.nodes, wishes, _environment(env, env_python, env_path, asked))
    typer.echo(json.dumps(plain(result), indent=2, ensure_ascii=False) if as_json else as_text(result, remove))
    for error in result.errors:
        typer.echo(f"llmctl: {error}", err=True)
    raise typer.Exit(int(result.exit_code))


def _environment(env: Path | None, python: str | None, path: str | None, asked: Asked) -> EnvWish | None:
    """What --env and its two helpers ask for; what they leave open a recipe may say."""
    from llmctl.errors import UsageError

    if env is None:
        if python or path:
            raise UsageError("--env-python and --env-path belong to --env", hint="--env constraints.txt")
        return None
    from llmctl.workflows.env_source import read_source
    from llmctl.workflows.setup_env import EnvWish

    return EnvWish(source=read_source(env), python=python or asked.env_python, path=path or asked.env_path)


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
