"""Folders of models as they come, for tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmctl_engine.config import ModelConfig

from tests.engine.runs import small_config


class Words:
    """As much of a tokenizer as loading a model asks for."""

    bos_token_id = eos_token_id = pad_token_id = 1

    def __len__(self) -> int:
        return 60


def load(folder: Path, tmp_path: Path, **train: Any) -> Any:
    """The model of a folder, through the engine."""
    from llmctl_engine.model import load_model

    config = replace(small_config(tmp_path, **train), model=ModelConfig(path=str(folder)))
    return load_model(config, Words())


def in_shards(folder: Path, *, pickled: bool = False, parts: int = 2, in_turns: bool = True) -> Path:
    """Write the weights again in shards, whose names take turns or follow one another."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem, suffix = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    names = sorted(weights)
    each = -(-len(names) // parts)
    held = {
        f"{stem}-{n + 1:05d}-of-{parts:05d}.{suffix}": names[n::parts] if in_turns else names[n * each : (n + 1) * each]
        for n in range(parts)
    }
    for file, part in held.items():
        tensors = {name: weights[name].clone() for name in part}
        torch.save(tensors, folder / file) if pickled else save_file(tensors, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, part in held.items() for name in part}}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return folder
