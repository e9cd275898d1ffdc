"""The engine's one input, `engine.json`. Standard library only: the launcher writes it and reads it back."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Where the model comes from. Exactly one of `path` (a local Hugging Face folder) and `init` is set."""

    path: str | None = None
    init: dict[str, Any] | None = None
    """A small model made from scratch: transformers config keys with `model_type`; `vocab_size` bounds the
    byte-level BPE tokenizer that is trained on the run's own data."""
    family: str | None = None
    """A name of `families.FAMILIES` that stands above the folder's config.json; None believes that."""
    template: str = "default@0.9.5"
    trust_remote_code: bool = False
    attention: str | None = None
    """transformers' `attn_implementation`; None leaves it to the model."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is trained on."""

    dir: str
    """Folder on the node that holds the datasets and, if any, `dataset_info.json`."""
    datasets: tuple[str, ...]
    cutoff_len: int = 1024
    packing: str = "exact"
    """How samples share rows of `cutoff_len`: `exact` (side by side, none sees another), `naive` (joined, cut anywhere)
    or `none`; see `packing`."""
    max_samples: int | None = None
    """The first rows taken of each dataset."""
    broken_rows: str = "stop"
    """What becomes of rows that cannot be trained on: `stop` or `skip`; they are counted and told either way."""
    loss_on: str = "answers"
    """What carries loss, see `labels.LOSS_ON`."""
    cutoff_rule: str | None = None
    """How longer samples are cut, see `labels.RULES`; None leaves it to the template."""
    mix: str = "concat"
    """How several datasets become one, see `mixing.MIXES`."""
    probabilities: tuple[float, ...] = ()
    """How often each dataset is drawn from when they are interleaved; empty takes turns."""
    fill: dict[str, str] = field(default_factory=dict)
    """What stands for `{{name}}` in every text, by the name."""
    prepared: str | None = None
    """Folder on the node with the tokens of all this, see `prepared`; None has them made from `dir`."""


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """peft's LoraConfig in short; `alpha` None means 2 x r."""

    r: int = 8
    alpha: int | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] = ("all",)
    adapter: str | None = None
    """An adapter folder to continue from; its own r, alpha and targets then apply."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How it is trained; names as in transformers' TrainingArguments beyond the short ones."""

    stage: str = "sft"
    method: str = "full"
    epochs: float = 3.0
    max_steps: int = -1
    micro_batch: int = 1
    grad_accum: int = 1
    learning_rate: float = 5e-5
    scheduler: str = "cosine"
    precision: str = "fp32"
    seed: int = 42
    warmup_steps: float = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    logging_steps: int = 1
    save_steps: int = 0
    """Steps between checkpoints; 0 saves only at the end."""
    save_total_limit: int | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Everything that one rank needs to know. Paths are absolute paths on the node."""

    run_id: str
    device: str
    output_dir: str
    model: ModelConfig
    data: DataConfig
    train: TrainSettings
    deepspeed: str | None = None
    """Path of ds_config.json; None trains with plain DDP."""
    resume: bool = False
    """Continue from the newest good checkpoint in `output_dir`."""
    world_size: int = 1
    """What the launcher planned; the engine refuses to train at another."""

    @property
    def packing(self) -> str:
        """What `data.packing` comes to: plain text fills its blocks in any case."""
        return "none" if self.train.stage == "pt" else self.data.packing


def to_json(config: EngineConfig) -> str:
    """`engine.json`, keys in the order of the fields, newline at the end."""
    return json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> EngineConfig:
    """Read `engine.json`. Raises ValueError naming every unknown or missing key."""
    config: EngineConfig = _build(EngineConfig, json.loads(text), "engine")
    return config


def load(path: str | Path) -> EngineConfig:
    """Read the file at `path`; errors as `from_json`, OSError when it cannot be read."""
    return from_json(Path(path).read_text(encoding="utf-8"))


_NESTED: dict[str, type] = {"model": ModelConfig, "data": DataConfig, "train": TrainSettings, "lora": LoraSettings}


def _build(cls: Any, values: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    required = {
        n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(values))
    if unknown or missing:
        raise ValueError(f"{where}: unknown keys {unknown}, missing keys {missing}")
    built = {
        name: _build(_NESTED[name], value, f"{where}.{name}")
        if name in _NESTED
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }
    return cls(**built)
