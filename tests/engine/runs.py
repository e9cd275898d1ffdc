"""Runs of the engine in the tests: a config on disk, ranks in processes of their own, their records read back."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmctl_engine.config import DataConfig, EngineConfig, ModelConfig, TrainSettings, to_json

from tests.engine.ranks import Rank

INIT = {
    "model_type": "llama",
    "vocab_size": 600,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
}


def rows(count: int) -> list[dict[str, str]]:
    """Alpaca rows of very different lengths."""
    return [
        {
            "instruction": f"Name the number after {number}." + " Think first." * (number % 5),
            "input": "数字" if number % 3 else "",
            "output": f"It is {number + 1}. " * (1 + number % 7),
        }
        for number in range(count)
    ]


def write_data(folder: Path, content: Any, name: str = "numbers") -> Path:
    """A dataset file `name`.json below `folder`; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def small_config(tmp_path: Path, **train: Any) -> EngineConfig:
    """A run of twelve steps over 48 rows on a model made from scratch."""
    data = write_data(tmp_path / "data", rows(48))
    settings: dict[str, Any] = {"epochs": 1, "micro_batch": 2, "grad_accum": 2, "learning_rate": 1e-3, **train}
    return EngineConfig(
        run_id="small-20260101-000000-abcd",
        device="cpu",
        output_dir=str(tmp_path / "output"),
        model=ModelConfig(init=INIT),
        data=DataConfig(dir=str(data), datasets=("numbers",), cutoff_len=64, packing="none"),
        train=TrainSettings(**settings),
    )


def packed(config: EngineConfig, packing: str) -> EngineConfig:
    """The same run with another packing; rows are long enough for several samples."""
    return replace(config, data=replace(config.data, packing=packing, cutoff_len=config.data.cutoff_len + 36))


def with_zero(config: EngineConfig, tmp_path: Path, stage: int, world_size: int) -> EngineConfig:
    """The same run under DeepSpeed."""
    path = tmp_path / "ds_config.json"
    train = config.train
    path.write_text(
        json.dumps(
            {
                "train_batch_size": train.micro_batch * train.grad_accum * world_size,
                "train_micro_batch_size_per_gpu": train.micro_batch,
                "gradient_accumulation_steps": train.grad_accum,
                "gradient_clipping": train.max_grad_norm,
                "zero_allow_untested_optimizer": True,
                "steps_per_print": 1_000_000,
                "bf16": {"enabled": train.precision == "bf16"},
                "zero_optimization": {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True},
            }
        )
    )
    return replace(config, deepspeed=str(path), world_size=world_size)


@dataclass(frozen=True)
class Ended:
    """A run that has ended."""

    output: Path
    codes: list[int]
    text: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.output / "steps.jsonl").read_text().splitlines()]

    @property
    def losses(self) -> list[float]:
        """Of every step, the later record of a step that was trained twice."""
        return [
            loss for _, loss in sorted({r["step"]: r["loss"] for r in self.records if r["record"] == "step"}.items())
        ]


def start(config: EngineConfig, folder: Path, *, extra: dict[str, str] | None = None) -> list[Rank]:
    """One process a rank, each in a folder that holds the config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "engine.json").write_text(to_json(config), encoding="utf-8")
    return launch(folder, config.world_size, extra=extra)


def launch(folder: Path, world_size: int, *, extra: dict[str, str] | None = None) -> list[Rank]:
    """One process a rank for the engine.json of a folder, with what the launchers give it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        **(extra or {}),
    }
    return [Rank(folder, base | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(world_size)]


def finish(config: EngineConfig, ranks: list[Rank], *, within: float = 240) -> Ended:
    """Wait for all ranks, `within` seconds each; then end them."""
    try:
        ended = [rank.end(within) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return Ended(Path(config.output_dir), [code for code, _ in ended], "\n".join(text for _, text in ended))


def run(config: EngineConfig, folder: Path, *, extra: dict[str, str] | None = None, within: float = 240) -> Ended:
    """Train to the end, `within` seconds."""
    return finish(config, start(config, folder, extra=extra), within=within)
