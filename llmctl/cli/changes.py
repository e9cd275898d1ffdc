"""What is new between two looks at a run, as lines for a pipe. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmctl.cli.run_table import row
from llmctl.cli.watching import progress_line

if TYPE_CHECKING:
    from llmctl.workflows.status import RunStatus


def changes(before: RunStatus | None, now: RunStatus, clock: float) -> list[str]:
    """The state of the run and of its nodes where it differs from `before`, and attempts that were begun; `clock` in
    Unix seconds."""
    lines = []
    if before is None or before.state != now.state:
        lines.append(f"{now.folder.run_id}: {now.state}")
        if now.progress.step:
            lines.append(progress_line(now.progress))
    known = len(before.attempts) if before else max(0, len(now.attempts) - 1)
    lines += [attempt.line() for attempt in now.attempts[known:]]
    for name, seen in now.nodes.items():
        answers = name not in now.errors
        same = (
            before is not None
            and name in before.nodes
            and before.nodes[name].state == seen.state
            and (name not in before.errors) == answers
        )
        if not same:
            lines.append(f"{name}: {row(seen, answers=answers, now=clock)[1]}")
    return lines
