"""What a run writes while it trains: unrounded step records, and LLaMA-Factory's `trainer_log.jsonl`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from llmctl_engine.config import EngineConfig

SCHEMA = 1


class Records:
    """Appends JSON lines below `output`; only rank 0 has one. Every line is written whole and flushed."""

    def __init__(self, output: Path, *, first_step: int) -> None:
        self.steps_file, self.log_file = output / "steps.jsonl", output / "trainer_log.jsonl"
        self.total_steps, self.first_step = 0, first_step
        self._session_tokens = 0
        self._started = time.time()
        self._pending: dict[str, Any] | None = None

    def run(self, config: EngineConfig, *, num_samples: int, packs: int | None, total_steps: int) -> None:
        """The record that opens a run or its continuation. A batch is drawn from the packs of samples, where they are
        packed."""
        self.total_steps = total_steps
        train = config.train
        self._append(
            self.steps_file,
            {
                "record": "run",
                "schema": SCHEMA,
                "run_id": config.run_id,
                "device": config.device,
                "world_size": config.world_size,
                "global_batch": train.micro_batch * train.grad_accum * config.world_size,
                "micro_batch": train.micro_batch,
                "grad_accum": train.grad_accum,
                "cutoff_len": config.data.cutoff_len,
                "total_steps": self.total_steps,
                "num_samples": num_samples,
                "packing": config.packing,
                "packs": packs,
                "epochs": train.epochs,
                "model": config.model.path or f"init:{(config.model.init or {}).get('model_type')}",
                "stage": train.stage,
                "method": train.method,
                "precision": train.precision,
                "learning_rate": train.learning_rate,
                "scheduler": train.scheduler,
                "seed": train.seed,
                "started": self._started,
                "resumed_from_step": self.first_step,
            },
        )

    def step(self, values: Mapping[str, Any], *, log_follows: bool) -> None:
        """One step's numbers over all ranks. `log_follows`: the learning rate and the gradient norm come with the
        Trainer's log of the same step."""
        self._session_tokens += int(values["padded_tokens"])
        record = {"record": "step", **values, "time": time.time()}
        if log_follows:
            self._pending = record
        else:
            self._append(self.steps_file, record)

    def log(self, step: int, logs: Mapping[str, float], *, total_tokens: int) -> None:
        """The Trainer's log of a step: completes the step record, and becomes a line of `trainer_log.jsonl`, where
        tokens count with their padding, as LLaMA-Factory's do."""
        if self._pending is not None:
            self._pending["learning_rate"] = logs["learning_rate"]
            self._pending["grad_norm"] = logs.get("grad_norm")
            self._append(self.steps_file, self._pending)
            self._pending = None
        elapsed = time.time() - self._started
        done = step - self.first_step
        left = elapsed / done * (self.total_steps - step) if done else 0.0
        self._append(
            self.log_file,
            {
                "current_steps": step,
                "total_steps": self.total_steps,
                "loss": logs["loss"],
                "lr": logs["learning_rate"],
                "epoch": logs["epoch"],
                "percentage": round(step / self.total_steps * 100, 2) if self.total_steps else 100,
                "elapsed_time": str(timedelta(seconds=int(elapsed))),
                "remaining_time": str(timedelta(seconds=int(left))),
                "throughput": round(self._session_tokens / max(elapsed, 1e-9), 2),
                "total_tokens": total_tokens,
            },
        )

    def end(self, step: int, epoch: float, metrics: Mapping[str, float]) -> None:
        """The record that closes a finished run."""
        names = ("train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second")
        values = {name: metrics.get(name) for name in names}
        self._append(self.steps_file, {"record": "end", "step": step, "epoch": epoch, **values, "time": time.time()})

    @staticmethod
    def _append(path: Path, record: Mapping[str, Any]) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
