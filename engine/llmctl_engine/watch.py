"""The callback that counts, records, guards and stops: once a step, with two small messages between the ranks."""

from __future__ import annotations

import math
import signal
import time
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmctl_engine import group
from llmctl_engine.collate import Batch, BatchRows
from llmctl_engine.config import EngineConfig
from llmctl_engine.errors import EngineError
from llmctl_engine.labels import IGNORED
from llmctl_engine.loss import LabelledLoss
from llmctl_engine.records import Records
from llmctl_engine.stop import StopRequest


class Watch(TrainerCallback):  # type: ignore[misc]
    """`see` is told every micro batch; the rest is the Trainer's calls. Only rank 0 has `records`."""

    def __init__(
        self,
        config: EngineConfig,
        loss: LabelledLoss,
        rows: BatchRows,
        records: Records | None,
        stop: StopRequest,
    ) -> None:
        self.config, self.loss, self.rows, self.records, self.stop = config, loss, rows, records, stop
        self.stopped_by = 0
        self._indices: list[torch.Tensor] = []
        self._counts = torch.zeros(3, dtype=torch.int64)
        self._since = time.perf_counter()

    def see(self, batch: Batch) -> None:
        """Count a micro batch: real tokens, tokens with padding, labels."""
        self._indices.append(batch["index"])
        padded = torch.ones_like(batch["input_ids"])
        counts = torch.stack([told.sum() for told in (batch["tokens"], padded, batch["labels"] != IGNORED)])
        self._counts = self._counts.to(counts.device) + counts

    def on_train_begin(self, _args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        if self.records is not None:
            packs = None if self.rows.packs is None else len(self.rows.packs)
            self.records.run(self.config, num_samples=len(self.rows.samples), packs=packs, total_steps=state.max_steps)
        self.start_clock()

    def start_clock(self) -> None:
        """The next step begins now."""
        self._since = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        sums = [float(value) for value in self.loss.take()]
        indices, self._indices = self._indices, []
        counts = [*self._counts.tolist(), self.stop.signal_number]
        self._counts = torch.zeros_like(self._counts)
        nll = group.gather([math.fsum(sums)], args.device)[:, 0].double()
        told = group.gather(counts, args.device)
        tokens, padded, labelled, _sum = told.sum(dim=0).tolist()
        loss = float(nll.sum()) / labelled
        if not math.isfinite(loss):
            raise EngineError(self._non_finite(state.global_step, nll, sums, indices))
        state.num_input_tokens_seen += padded
        now = time.perf_counter()
        if self.records is not None:
            self.records.step(
                {
                    "step": state.global_step,
                    "epoch": state.epoch,
                    "loss": loss,
                    "learning_rate": None,
                    "grad_norm": None,
                    "step_seconds": now - self._since,
                    "tokens": tokens,
                    "padded_tokens": padded,
                    "label_tokens": labelled,
                },
                log_follows=control.should_log,
            )
        self._since = now
        self.stopped_by = int(told[:, 3].max())
        if self.stopped_by and state.global_step < state.max_steps:
            print(f"{signal.Signals(self.stopped_by).name}: saving and ending", flush=True)  # noqa: T201
            control.should_save = control.should_training_stop = True
        return control

    def on_log(self, _args: Any, state: TrainerState, _control: Any, logs: dict[str, float], **_: Any) -> None:
        if self.records is None or "loss" not in logs:
            return
        self.records.log(state.global_step, logs, total_tokens=int(state.num_input_tokens_seen))
        norm = f"  grad norm {logs['grad_norm']:.4f}" if logs.get("grad_norm") is not None else ""
        print(  # noqa: T201
            f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}"
            f"  lr {logs['learning_rate']:.3e}{norm}",
            flush=True,
        )

    def on_save(self, *_: Any, **__: Any) -> None:
        self.start_clock()

    def _non_finite(self, step: int, nll: torch.Tensor, sums: list[float], indices: list[torch.Tensor]) -> str:
        what = f"the loss of step {step} is not finite"
        mine = [number for number, value in enumerate(sums) if not math.isfinite(value)]
        if mine:
            places = ", ".join(place for row in indices[mine[0]].tolist() for place in self.rows.places(row))
            return f"{what}: rank {group.rank()}, micro batch {mine[0] + 1} of {len(sums)} ({places})"
        ranks = [number for number, value in enumerate(nll.tolist()) if not math.isfinite(value)]
        return f"{what}: it comes from rank {ranks[0]}" if ranks else what
