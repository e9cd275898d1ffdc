"""The checkpoint that the next attempt goes on from, on every node that needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmctl.errors import NodeError
from llmctl.launch.checkpoints import bring, held
from llmctl.launch.supervised import Job
from llmctl.quoting import sh_quote
from llmctl.run.restore import Held, Restore, find_restore, nowhere
from llmctl.workflows.live import Live
from llmctl.workflows.mirror import RECORDS
from llmctl.workflows.watching import Watcher


class Unrecoverable(NodeError):
    """What the run needs lies on nodes that are gone: another try would come to the same."""


@dataclass
class Restoring:
    """From the nodes of the last attempt, in the order of the ranks, to those of the next one."""

    live: Live
    watcher: Watcher
    last: Sequence[str]
    names: Sequence[str]
    found: dict[str, dict[int, Held]] = field(default_factory=dict)
    """The good checkpoints on the nodes of the last attempt that can be reached."""
    restore: Restore | None = None

    def find(self, old: Job, *, save_steps: int, reached: int) -> None:
        """Choose the checkpoint; none when none was written yet. `reached` is the last step. Raises Unrecoverable when
        the run's state lies on nodes that are gone."""
        near = [name for name in old.nodes if name in self.live.transports]
        found = self.found
        for outcome in held(old, self.live.transports, near):
            if outcome.value is not None:
                found[outcome.item] = outcome.value
            elif outcome.error is not None and outcome.item in self.names:
                raise outcome.error
            else:
                self.watcher.note(str(outcome.error))
        restore = find_restore(found, old.nodes, self.names)
        if restore is None and (nowhere(found) or (0 < save_steps <= reached)):
            gone = ", ".join(name for name in old.nodes if name not in self.names) or "a node"
            raise Unrecoverable(
                "no checkpoint to go on from",
                where=self.live.folder.run_id,
                why=nowhere(found) or f"they lay on {gone} alone",
                hint=f"bring {gone} back, then llmctl run --resume {self.live.folder.run_id}; "
                "a cluster.workdir that all nodes share outlives any of them",
            )
        self.watcher.note(
            f"going on from checkpoint-{restore.step}" if restore else "no checkpoint was written yet: from step 0"
        )
        self.restore = restore

    def bring(self) -> None:
        """Bring checkpoint and records to the nodes, which are staged. Raises NodeError."""
        live, restore = self.live, self.restore
        moved = [name for was, name in zip(self.last, self.names, strict=True) if name != was]
        copies = restore.copies if restore else {}
        asked = dict.fromkeys([*moved, *copies])
        seen = {each.item: each.value or {} for each in held(live.job, live.transports, list(asked))}
        for name in moved:
            for step in [step for step, own in seen[name].items() if own.missing is not None]:
                self._set_aside(name, step)
                del seen[name][step]
        for name, source in copies.items():
            if restore is not None and restore.step not in seen[name]:  # it is there on a shared file system
                files = self.found[source][restore.step].files
                bring(
                    live.job,
                    restore.step,
                    files,
                    live.transports[source],
                    live.transports[name],
                    through=live.folder.root,
                    tell=self.watcher.note,
                )
        self._bring_records()

    def _set_aside(self, name: str, step: int) -> None:
        """Part of another place's state, from when the node had that: it is none of this place."""
        output = f"{self.live.job.run_dir}/output"
        source, target = sh_quote(f"{output}/checkpoint-{step}"), sh_quote(f"{output}/stale-checkpoint-{step}")
        moved = self.live.transports[name].run(f"rm -rf {target} && mv {source} {target}")
        if not moved.ok:
            raise NodeError("an old checkpoint cannot be set aside", where=f"{name}:{output}", why=moved.stderr.strip())

    def _bring_records(self) -> None:
        """A new first node goes on with the records so far, unless it has more of them."""
        live, first = self.live, self.names[0]
        if first == self.last[0] or not live.folder.steps.exists():
            return
        place = f"{live.job.run_dir}/{RECORDS}"
        size = live.transports[first].run(f"wc -c < {sh_quote(place)}").stdout.strip()
        if int(size or 0) < live.folder.steps.stat().st_size:
            live.transports[first].put({place: live.folder.steps})
