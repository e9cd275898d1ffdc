"""Environment variables: what a rank will see, and whether it is what the recipe asks for on every node."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from llmctl.checks.facts import Severity
from llmctl.checks.parsers.text import lines
from llmctl.checks.rows import Complaint, Row, Rule, Wanted
from llmctl.checks.vendors import VENDORS
from llmctl.quoting import sh_quote
from llmctl.run.redact import is_secret_name

COMMON = ("NCCL_", "GLOO_", "TORCH_", "OMP_", "MKL_", "KMP_", "PYTORCH_", "UCX_", "LD_LIBRARY_PATH", "LD_PRELOAD",
          "PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM", "DS_")  # fmt: skip
"""Prefixes of the variables that change what a run does, with any device."""
OF_THE_NODE = ("_SOCKET_IFNAME", "_IF_IP", "_IB_HCA", "_GID_INDEX")
"""Ends of names whose values may differ from node to node."""
WORDS = "TOKEN|SECRET|PASS|CRED|APIKEY|API_KEY|ACCESS_KEY|STORAGE_KEY|PRIVATE"
"""Names with one of these words are not even read; which names are secret, `is_secret_name` decides."""


@cache
def known_names() -> tuple[str, ...]:
    """Names that the libraries read, to tell a name that is one slip away from one of them."""
    return tuple(files("llmctl.checks").joinpath("variables.txt").read_text(encoding="utf-8").split())


def _here(value: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    return [
        f"{name} is {value.get(name, 'not set')}, the recipe wants {want}"
        for name, want in wanted.items()
        if value.get(name) != want
    ]


def _effective(value: Any, _node: str, wanted: Wanted) -> Complaint:
    told = _here(value, wanted.variables)
    if told:
        return Severity.ERROR, "; ".join(told[:5])
    more = sorted(
        name for name in value.keys() - wanted.variables.keys() if name not in ("LD_LIBRARY_PATH", "PYTHONPATH")
    )
    if wanted.variables and more:
        return Severity.INFO, "beyond the recipe: " + ", ".join(f"{name}={value[name]}" for name in more[:8])
    return None


def _slips(wanted: Wanted, _node: str) -> Complaint:
    names = {**(wanted.facts.get("environment.effective") or {}), **wanted.variables}
    known = known_names()
    odd = {
        name: near[0]
        for name in names
        if name not in known and (near := difflib.get_close_matches(name, known, n=1, cutoff=0.93))
    }
    told = ", ".join(f"{name} (is {near} meant?)" for name, near in sorted(odd.items()))
    return (Severity.WARNING, f"names that no library reads: {told}") if odd else None


def environment_rows(wanted: Mapping[str, str]) -> list[Row]:
    """`wanted`: the variables of the recipe, which are read too whatever their names."""
    prefixes = [*COMMON, *(prefix for vendor in VENDORS.values() for prefix in vendor.variables)]
    names = [f"({'|'.join(sorted(set(prefixes)))})[A-Za-z0-9_]*", *(f"{name}" for name in wanted)]
    wanted_names = sh_quote(f"^({'|'.join(names)})=")
    secret_names = sh_quote(f"^[^=]*({WORDS})[^=]*=")
    harmless = sh_quote("^TOKENIZERS_PARALLELISM=")
    listed = (
        f"env -0 | grep -zaE {wanted_names} | {{ grep -zaviE {secret_names}; true; }}; "
        f"env -0 | grep -zaE {harmless}; true"
    )
    return [
        Row(
            name="environment.effective", run=listed, env=True, mode="ok", parse=variables, judge=_effective,
            source="`env` after `cluster.activate` and `cluster.env`; no name that holds a secret",
            why="a rank runs with other settings than the recipe says",
            remedy="look for what sets it there: the lines of cluster.activate, /etc/environment, ~/.bashrc",
        ),
        Row(
            name="environment.variables", run=listed, env=True, severity=Severity.WARNING, parse=_of_all,
            source="the same, without names that may differ from node to node",
            why="ranks run with different settings", remedy="set it for all nodes in cluster.env",
        ),
        Row(
            name="environment.files", severity=Severity.WARNING, parse=lines,
            run='for f in /etc/nccl.conf "$HOME/.nccl.conf" "$HOME/.deepspeed_env"; do '
            '[ -r "$f" ] && echo "$f $(sha256sum < "$f" | cut -c1-16)"; done; true',
            source="SHA-256 of `/etc/nccl.conf`, `~/.nccl.conf`, `~/.deepspeed_env`",
            why="NCCL and DeepSpeed take settings from them without a word",
            remedy="make them equal on all nodes, or remove them",
        ),
    ]  # fmt: skip


def variables(out: str) -> dict[str, str]:
    """`env -0`: name -> value, without what is secret: by its name, or a password in an address."""
    pairs = (entry.partition("=") for entry in out.split("\0"))
    return {
        name: re.sub(r"(?<=://)[^/\s@]+:[^/\s@]+(?=@)", "[masked]", value)
        for name, sign, value in sorted(pairs)
        if sign and not is_secret_name(name)
    }


def _of_all(out: str) -> dict[str, str]:
    return {name: value for name, value in variables(out).items() if not name.endswith(OF_THE_NODE)}


SLIPS = Rule(
    name="environment.names", judge=_slips, severity=Severity.WARNING, also=("environment.effective",),
    source="the same names",
    why="a misspelt variable does nothing", remedy="correct the name in cluster.env, or where it is set",
)  # fmt: skip
