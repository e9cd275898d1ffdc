"""What is left when training has ended: metrics in LLaMA-Factory's form, and a picture of the loss."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_metrics(output: Path, metrics: Mapping[str, Any], *, epoch: float, tokens: int) -> None:
    """`train_results.json` and `all_results.json`, unrounded, keys sorted as transformers writes them."""
    whole = {"epoch": epoch, "num_input_tokens_seen": tokens, **metrics}
    text = json.dumps(dict(sorted(whole.items())), indent=4)
    for name in ("train_results.json", "all_results.json"):
        (output / name).write_text(text, encoding="utf-8")


def over_all(metrics: Mapping[str, Any], history: Sequence[Mapping[str, Any]], *, resumed_from: int) -> dict[str, Any]:
    """The metrics of a resumed run: `train_loss` over all its steps. Its times are those of the last part alone, which
    `resumed_from_step` tells."""
    if not resumed_from:
        return dict(metrics)
    points = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    steps = [0, *(step for step, _ in points)]
    total = sum(loss * (step - before) for (step, loss), before in zip(points, steps, strict=False))
    return {**metrics, "train_loss": total / steps[-1], "resumed_from_step": resumed_from}


def draw_loss(output: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """`training_loss.png`: the loss of each logged step. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure

    points = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([step for step, _ in points], [loss for _, loss in points], linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_title("training loss")
    axes.grid(alpha=0.3)
    figure.savefig(output / "training_loss.png", dpi=120)
