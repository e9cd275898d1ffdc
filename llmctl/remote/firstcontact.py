"""First contact: whether a host key may be trusted, decided before anything secret is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from llmctl.errors import HostKeyError
from llmctl.remote.connect import Target, known_labels
from llmctl.remote.hostkeys import HostKey, changed_key, known_keys, unknown_key


class Trust(StrEnum):
    """Why a host key is trusted."""

    KNOWN = "known"
    FINGERPRINT = "fingerprint given"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted without a check"


@dataclass(frozen=True, kw_only=True)
class FirstContact:
    """What decides about an unknown key. `confirm` asks the person; None where there is no terminal."""

    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Node name -> `SHA256:...`."""
    accept_new: bool = False
    confirm: Callable[[str, str, HostKey], bool] | None = None


def decide(target: Target, key: HostKey, rules: FirstContact) -> Trust:
    """Why `key` of `target` is trusted. Raises HostKeyError when it is not."""
    name = target.node.name
    given = rules.fingerprints.get(name)
    if given is not None and given.rstrip("=") != key.fingerprint:
        raise HostKeyError(
            "the host key is not the one that was given",
            where=name,
            why=f"given {given}; {target.label} shows {key.kind} {key.fingerprint}",
            hint="compare on the node: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        )
    known, source = known_keys(known_labels(target))
    if known:
        if key not in known:
            raise changed_key(name, target.label, key, known, source)
        return Trust.KNOWN
    if given is not None:
        return Trust.FINGERPRINT
    if rules.accept_new:
        return Trust.ACCEPTED
    if rules.confirm is not None and rules.confirm(name, target.label, key):
        return Trust.CONFIRMED
    raise unknown_key(name, target.label, key)
