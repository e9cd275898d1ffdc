"""What there is to say about the rows of a run, from its summary. Standard library only: the launcher says it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmctl_engine.rows import BrokenRow, Counted, complaint


def complaints(summary: Mapping[str, Any]) -> list[str]:
    """What was left out, cut or left as it was, in a line each, with the first places."""
    cut, without, ended = summary["cut_to_cutoff_len"], summary["without_labels"], summary["end_in_the_text"]
    lines = []
    if summary["broken_rows"]:
        lines.append(f"skipped: {complaint(BrokenRow(**broken) for broken in summary['broken_rows'])}")
    if cut["rows"]:
        lines.append(f"cut to cutoff_len: {_told(cut)}, {cut['tokens']:,} tokens lost")
    if without["rows"]:
        lines.append(f"left out, because nothing of them carries a label: {_told(without)}")
    if ended["rows"]:
        lines.append(f"answers hold {ended['token']} already, which the template writes too: {_told(ended)}")
    for name, left in summary["placeholders_left"].items():
        lines.append(f"{{{{{name}}}}} stands in the data as it is: {_told(left)}; data.fill gives it a text")
    if summary["tokens_dropped_at_the_end"]:
        lines.append(f"dropped: the last {summary['tokens_dropped_at_the_end']:,} tokens, which fill no block")
    return lines


def _told(counted: Mapping[str, Any]) -> str:
    return Counted(counted["rows"], counted["first"]).told()
