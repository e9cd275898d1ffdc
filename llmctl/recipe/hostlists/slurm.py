"""Slurm's nodelists: `node[01-16],gpu3`."""

from __future__ import annotations

import re

from llmctl.errors import UsageError
from llmctl.recipe.hostlists.folding import Run, fold
from llmctl.recipe.hostlists.lines import Word, read_each, refuse_twice, split_words
from llmctl.recipe.hostlists.values import Host, HostList
from llmctl.recipe.hosts import Node, expand_range

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
PIECE = re.compile(rf"{NAME}(?:\[[0-9,-]+\](?:[A-Za-z0-9._-]+)?)*")


class Slurm:
    """Names only, as `squeue`, `scontrol` and SLURM_JOB_NODELIST show them; several lines are read as one list."""

    carries: frozenset[str] = frozenset()

    def read(self, text: str, source: str) -> HostList:
        """Raises ManyErrors with line and column of each mistake."""
        pieces = [piece for line in split_words(text, r"[^\n]+") for piece in _pieces(line[0])]
        named = [pair for pairs in read_each(pieces, _expanded, source) for pair in pairs]
        refuse_twice(named, source)
        return HostList(hosts=tuple(Host(node=Node(name=name)) for name, _ in named))

    def write(self, hosts: HostList) -> str:
        """One line, folded into ranges, the order kept."""
        pieces: list[str] = []
        for run in fold(hosts.names):
            if run.after or not run.low or not run.before:  # Slurm's ranges stand at the end of a name
                pieces += _spelled(run)
                continue
            numbers = f"{run.low}-{run.high}" if run.high else run.low
            before, open_bracket, inside = pieces[-1].partition("[") if pieces else ("", "", "")
            if open_bracket and before == run.before and _ascend(inside[:-1], run.low):
                pieces[-1] = f"{before}[{inside[:-1]},{numbers}]"
            else:
                pieces.append(f"{run.before}[{numbers}]")
        return ",".join(re.sub(r"\[([0-9]+)\]$", r"\1", piece) for piece in pieces) + "\n"


def _ascend(inside: str, number: str) -> bool:
    """Whether `number` stays behind what a bracket holds when that is read again, sorted."""
    last = re.split(r"[,-]", inside)[-1]
    alike = len(last) == len(number) or not (last.startswith("0") or number.startswith("0"))
    return alike and int(last) < int(number)


def in_own_order(names: list[str]) -> bool:
    """Whether Slurm, which sorts the nodes of a job, keeps this order."""
    from ClusterShell.NodeSet import NodeSet

    return [str(name) for name in NodeSet.fromlist(names)] == names


def _spelled(run: Run) -> list[str]:
    if run.alone is not None:
        return [run.alone]
    width = len(run.low)
    return [f"{run.before}{number:0{width}}{run.after}" for number in range(int(run.low), int(run.high) + 1)]


def _pieces(line: Word) -> list[Word]:
    """What stands between the commas outside of brackets."""
    found = re.finditer(r"(?:\[[^\]]*\]|[^,\[])+|\[[^\]]*$|(?<=,)(?=,|$)|^(?=,)", line.text.rstrip())
    pieces = [Word(match.group(), line.line, line.column + match.start()) for match in found]
    return [piece.at(len(piece.text) - len(piece.text.lstrip())) for piece in pieces]


def _expanded(piece: Word) -> list[tuple[str, Word]]:
    text = piece.text.strip()
    if not text:
        raise piece.mistake("a name is missing beside this comma")
    if not PIECE.fullmatch(text):
        end = _readable(text)
        raise piece.at(end).mistake(f"{text!r} is no part of a nodelist", "a nodelist is: node[01-16],gpu3")
    try:
        return [(name, piece) for name in expand_range(text)]
    except UsageError as error:
        raise piece.mistake(error.what, error.hint) from None


def _readable(text: str) -> int:
    """How many characters of it could still begin a piece."""
    match = re.match(rf"(?:{NAME}(?:\[[0-9,-]+\](?:[A-Za-z0-9._-]+)?)*)?", text)
    return match.end() if match else 0
