"""The one tree of errors. Each says what, where, why and what to type next; its class decides the exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line returns (docs/design.md, exit codes)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BLOCKED = 3
    INCONCLUSIVE = 4
    NODE = 5
    INTERRUPTED = 130


EXIT_ORDER = (
    ExitCode.USAGE,
    ExitCode.INTERRUPTED,
    ExitCode.NODE,
    ExitCode.BLOCKED,
    ExitCode.FAILED,
    ExitCode.INCONCLUSIVE,
    ExitCode.OK,
)
"""Of several outcomes, the first of these that applies is the command's exit code."""


class LlmctlError(Exception):
    """Base of all errors that a person is told without a traceback.

    what: one line, lower case, no final period. where: file, key path or node. why: the cause.
    hint: the next command to type or the change to make.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.why:
            lines.append(f"  why:  {self.why}")
        if self.hint:
            lines.append(f"  next: {self.hint}")
        return "\n".join(lines)


class UsageError(LlmctlError):
    """Bad usage or bad input: a wrong option, a file that is missing or malformed."""

    exit_code = ExitCode.USAGE


class ManyErrors(UsageError):
    """Several mistakes in one input, told together."""

    def __init__(self, errors: list[UsageError], *, where: str = "", hint: str = "") -> None:
        count = len(errors)
        super().__init__(f"{count} {'mistake' if count == 1 else 'mistakes'}", where=where, hint=hint)
        self.errors = errors

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        body = "\n".join("  " + line for error in self.errors for line in str(error).splitlines())
        return f"{head}\n{body}" + (f"\n  next: {self.hint}" if self.hint else "")


class BlockedError(LlmctlError):
    """A finding blocks the start."""

    exit_code = ExitCode.BLOCKED


class NodeError(LlmctlError):
    """A node cannot be reached, refuses the login, or was lost."""

    exit_code = ExitCode.NODE


class Unanswered(NodeError):
    """Nothing comes back from a node's address, not even a refusal."""


class ManyNodeErrors(NodeError):
    """Several nodes fail, each in its own way."""

    def __init__(self, errors: list[LlmctlError], *, what: str, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.errors = errors

    def __str__(self) -> str:
        lines = [self.what, *("  " + line for error in self.errors for line in str(error).splitlines())]
        return "\n".join([*lines, f"  next: {self.hint}"] if self.hint else lines)


class HostKeyError(NodeError):
    """A node's host key is unknown or is not the one that was verified before."""


class JobFailed(LlmctlError):
    """The job itself failed."""


class Interrupted(LlmctlError):
    """Work was stopped by the user."""

    exit_code = ExitCode.INTERRUPTED


def worst(codes: list[ExitCode]) -> ExitCode:
    """The exit code that stands for several outcomes (EXIT_ORDER); OK for none."""
    return min(codes, key=EXIT_ORDER.index, default=ExitCode.OK)
