"""transformers' Trainer with our loss and our checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from llmctl_engine import checkpoint, group
from llmctl_engine.collate import OWN
from llmctl_engine.loss import LabelledLoss
from llmctl_engine.watch import Watch


class EngineTrainer(Trainer):  # type: ignore[misc]
    """Differs from its base in three things: the labels are told to the loss before each forward pass; a checkpoint is
    written aside on every node, counts only when all nodes have theirs, and is read where nodes share no files; no step
    follows the last one."""

    loss: LabelledLoss
    watch: Watch
    output: Path
    keep: int | None
    before: Callable[[Callable[..., Any]], None] | None = None
    """Called once, when everything is in place and nothing trained yet, with the model as it evaluates."""
    _writing: bool = False

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *rest: Any, **more: Any) -> Any:
        self.watch.see(inputs)
        self.loss.expect(inputs)
        return super().compute_loss(model, {k: v for k, v in inputs.items() if k not in OWN}, *rest, **more)

    def _run_epoch(self, **state: Any) -> None:
        """The base makes one step more when a checkpoint of the last step is resumed."""
        if self.state.global_step >= self.state.max_steps:
            return
        before, self.before = self.before, None
        if before is not None:
            self._evaluating(state["model"], before)
            self.watch.start_clock()
        super()._run_epoch(**state)

    def _evaluating(self, model: Any, call: Callable[[Callable[..., Any]], None]) -> None:
        model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            call(model)
        model.train()

    def _get_output_dir(self, trial: Any) -> str:  # noqa: ARG002 - the base class calls it by name
        return str(checkpoint.aside(self.output) if self._writing else self.output)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write aside, wait for all ranks, then one process a node makes it count. On a shared file system that is
        rank 0 alone, since the others then find it done."""
        if group.local_rank() == 0:
            checkpoint.clear_aside(self.output)
        group.barrier()
        self._writing = True
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError) as error:
            # torch's zip writer tells a full disk in words of its own, in some places without the reason.
            checkpoint.assert_room(self.output, error)
            raise
        finally:
            self._writing = False
        self._complete_deepspeed()
        group.barrier()
        for turn in (True, False):
            if group.local_rank() == 0 and (group.rank() == 0) is turn and self._written_aside():
                checkpoint.publish(self.output, self.state.global_step, world_size=group.world_size())
                checkpoint.prune(self.output, self.keep)
            group.barrier()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Plain weights are written on the first node alone; the others get them when DDP joins the ranks."""
        if group.rank() == 0 or any(Path(resume_from_checkpoint).glob("*.safetensors")):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _complete_deepspeed(self) -> None:
        """DeepSpeed names its newest state in `latest` on the first node alone, and looks for it on all."""
        written = checkpoint.aside(self.output) / f"checkpoint-{self.state.global_step}"
        tag = f"global_step{self.state.global_step}"
        if group.local_rank() == 0 and (written / tag).is_dir() and not (written / "latest").exists():
            (written / "latest").write_text(tag, encoding="utf-8")

    def _written_aside(self) -> bool:
        return (checkpoint.aside(self.output) / f"checkpoint-{self.state.global_step}").is_dir()
