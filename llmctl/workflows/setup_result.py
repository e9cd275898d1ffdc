"""What came out of setup-nodes for all nodes."""

from __future__ import annotations

from dataclasses import dataclass

from llmctl.errors import ExitCode, Interrupted, LlmctlError, worst
from llmctl.workflows.setup_env import Difference, EnvState
from llmctl.workflows.setup_values import Login, Member, Mode


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The result for all nodes."""

    mode: Mode
    members: tuple[Member, ...]
    logins: tuple[Login, ...] = ()
    environments: tuple[EnvState, ...] = ()
    differences: tuple[Difference, ...] = ()
    """Packages of the environments that are not the same everywhere."""
    promised: int = 0
    """The logins that were to be proven, on nodes that failed too."""
    interrupted: bool = False
    """Ctrl-C came first."""

    @property
    def exit_code(self) -> ExitCode:
        """5 for a node that failed, 3 for one that is unfit, for environments that differ and, with `check`, for what
        is not in place; 2 for bad input, 130 where it was stopped."""
        codes = [error.exit_code for error in self.errors]
        if any(member.problems or (self.mode == "check" and member.changes) for member in self.members):
            codes.append(ExitCode.BLOCKED)
        if self.differences or (self.mode == "check" and any(e.state == "not in place" for e in self.environments)):
            codes.append(ExitCode.BLOCKED)
        return worst(codes)

    @property
    def errors(self) -> list[LlmctlError]:
        """Everything that failed, node by node."""
        found = [member.error for member in self.members] + [login.error for login in self.logins]
        found += [state.error for state in self.environments if state.error not in found]
        found += [self._stopped()] if self.interrupted else []
        return [error for error in found if error is not None]

    def _stopped(self) -> Interrupted:
        touched = [member.target.node.name for member in self.members if member.touched]
        again = "type the same command again: it goes on where it stopped"
        undo = f", or take away what was added: llmctl setup-nodes {' '.join(touched)} --remove" if touched else ""
        return Interrupted("it was stopped", hint=again + undo)
