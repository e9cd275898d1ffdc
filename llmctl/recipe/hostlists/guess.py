"""Which format a host list is in, when nobody says."""

from __future__ import annotations

import re


def guess_format(name: str, text: str) -> str:
    """A key of FORMATS, from the file's ending and from what only one format has."""
    if name.endswith((".yml", ".yaml")):
        return "inventory" if re.search(r"(?m)^hosts:", text) else "ansible-yaml"
    lines = [line.split("#", 1)[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(";")]
    body = "\n".join(lines)
    if name.endswith(".ini") or any(re.fullmatch(r"\[[^\[\]\s]+\]", line) for line in lines) or "ansible_" in body:
        return "ansible"
    if lines and lines[0] in ("---", "all:"):
        return "ansible-yaml"
    if re.search(r"max[_-]slots|slots[_-]max|\b(?:cpus|count)[ \t]*=|slots[ \t]+=", body):
        return "mpi"
    if "slots=" in body:
        return "llmctl"
    if lines and all(re.fullmatch(r"[^\s:\[\]@=]+:[0-9]+(?:\s+\S+=\S+)*", line) for line in lines):
        return "mpich"
    if any("," in line for line in lines) and not any(" " in line for line in lines):
        return "slurm"
    return "llmctl"
