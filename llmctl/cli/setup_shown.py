"""How the result of setup-nodes looks, for machines and for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmctl.workflows.setup_env import EnvState
    from llmctl.workflows.setup_result import Setup
    from llmctl.workflows.setup_values import Member


def as_json(result: Setup) -> dict[str, Any]:
    """The result for machines."""
    return {
        "schema": 1,
        "mode": result.mode,
        "nodes": [_member(member) for member in result.members],
        "logins": [
            {"from": login.source, "to": login.node, "ok": login.error is None, "error": _error(login.error)}
            for login in result.logins
        ],
        "environments": [_environment(state) for state in result.environments],
        "differences": [
            {"package": each.package, "values": {value: list(nodes) for value, nodes in each.values.items()}}
            for each in result.differences
        ],
        "promised_logins": result.promised,
        "interrupted": result.interrupted,
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


def _environment(state: EnvState) -> dict[str, Any]:
    return {
        "name": state.node,
        "state": state.state,
        "path": state.path,
        "python": state.python or None,
        "packages": {name: value[0] for name, value in state.packages.items()},
        "sha256": state.digest if state.state in ("made", "in place") else None,
        "notes": state.notes,
        "error": _error(state.error),
    }


def _error(error: Exception | None) -> str | None:
    return None if error is None else str(error)


def as_text(result: Setup, removed: bool) -> str:
    """The result for a person, node by node."""
    lines = []
    for member in result.members:
        lines += [_row(result, member, removed), *member.diffs]
        if member.trust == "accepted without a check":
            lines.append(
                f"  the host key was accepted without a check: {member.key.fingerprint if member.key else '?'}"
            )
        lines += [f"  unfit: {text}" for text in member.problems]
        lines += [f"  note: {text}" for text in member.notes]
    if result.promised:
        good = sum(login.error is None for login in result.logins)
        lines.append(f"{good} of {result.promised} logins proven by new connections")
    lines += _environments(result)
    return "\n".join(lines)


def _environments(result: Setup) -> list[str]:
    """The environments: where, what became of them, and whether they are equal."""
    lines = []
    for state in result.environments:
        word: str = "would be made" if state.state == "not in place" and result.mode == "dry-run" else state.state
        told = f"python {state.python}, {len(state.packages)} packages, " if state.python else ""
        word = f"FAILED: {state.error.what}" if state.error else word
        lines.append(f"{state.node}:{state.path}: {told}{word}")
        lines += [f"  note: {note}" for note in state.notes]
    lines += [f"differs: {each}" for each in result.differences]
    there = [state for state in result.environments if state.state in ("made", "in place") and state.error is None]
    if len(there) > 1 and not result.differences:
        lines.append(f"the {len(there)} environments are equal: sha256 {there[0].digest[:16]}")
    if there and result.mode == "apply":
        lines.append(f"in a recipe: cluster.python: {there[0].path}/bin/python")
    return lines


def _row(result: Setup, member: Member, removed: bool) -> str:
    verbs = {"apply": "removed" if removed else "changed", "dry-run": "would change", "check": "not in place"}
    if member.error is not None:
        state = f"FAILED: {member.error.what}"
    elif result.interrupted and not member.done:
        part = f"{verbs[result.mode]}, perhaps only in part: {', '.join(member.changes)}"
        state = f"stopped; {part}" if member.touched else "stopped before anything was changed"
    elif member.changes:
        state = f"{verbs[result.mode]}: {', '.join(member.changes)}"
    else:
        state = "nothing to do"
    versions = f"python {member.files.python or '-'}, pdsh {member.files.pdsh or '-'}; " if member.files else ""
    return f"{member.name} ({member.target.user}@{member.target.label}): {versions}{state}"
