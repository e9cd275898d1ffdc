"""What the published code gave for tiny checkpoints with random weights, where the folder of references is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

REFERENCE = Path(__file__).resolve().parents[4] / "shared/reference"
BAICHUAN = ("bc1_7b", "bc1_13b", "bc2_7b", "bc2_13b")
CASES = (*BAICHUAN, "yuan_mg")
KINDS = ("full", "rightpad", "leftpad")
needs_reference = pytest.mark.skipif(
    not (REFERENCE / "bc1_7b/ref.npz").is_file(), reason="the published code's numbers are not beside this checkout"
)


class Published:
    """One case: its checkpoint folder and its arrays as tensors."""

    def __init__(self, case: str) -> None:
        import numpy

        self.case = case
        self.folder = REFERENCE / case / "ckpt"
        self._arrays = numpy.load(REFERENCE / case / "ref.npz")

    def __getitem__(self, name: str) -> Any:
        import torch

        return torch.tensor(self._arrays[name])

    def names(self, prefix: str) -> list[str]:
        return [name for name in self._arrays.files if name.startswith(prefix)]

    def batch(self, kind: str) -> dict[str, Any]:
        """What the published model was given. Yuan's code does not shift labels, ours takes such as `shift_labels`."""
        labels = "shift_labels" if self.case.startswith("yuan") else "labels"
        return {
            "input_ids": self[f"{kind}.input_ids"],
            "attention_mask": self[f"{kind}.attention_mask"],
            labels: self[f"{kind}.labels"],
        }

    def load(self, folder: Path | None = None, **more: Any) -> Any:
        """The model of the checkpoint, or of another folder, in fp32."""
        import torch
        from llmctl_engine import models
        from transformers import AutoModelForCausalLM

        models.register()
        return AutoModelForCausalLM.from_pretrained(folder or self.folder, dtype=torch.float32, **more)
