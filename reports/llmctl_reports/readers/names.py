"""What columns of tables and tags of TensorBoard are called, by what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from llmctl_reports.readers.common import TOKENS_SEEN, shown_names

NAMES = {
    "step": (
        *("global_step", "train/global_step", "trainer/global_step", "step", "iteration", "iter"),
        "_step",  # W&B's own counter, which also counts evaluations
    ),
    "loss": (
        *("train/loss", "loss", "lm_loss", "loss/train", "train/lm_loss", "training_loss", "reduced_train_loss"),
        *("loss_metrics/global_avg_loss", "train_loss", "train_loss_step", "train/train_loss"),
        "value",  # the column of a table that TensorBoard saves
    ),
    "epoch": ("epoch", "train/epoch"),
    "learning_rate": ("learning_rate", "lr", "train/learning_rate", "train/lr"),
    "grad_norm": ("grad_norm", "train/grad_norm", "optim/grad_norm"),
    "seconds": ("step_time", "seconds", "step_seconds", "iteration_time", "train_step_timing_in_s"),
    "tokens": ("tokens",),
    "tokens_seen": (*TOKENS_SEEN, *(f"train/{name}" for name in TOKENS_SEEN)),
}
"""Our column by the names that it goes by, the most telling first; `-`, ` ` and `_` are one."""


@lru_cache(maxsize=64)
def columns_of(keys: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Our name -> the keys that go by the most telling of its names; W&B's exports put the run's name and ` - ` before,
    so that there may be several."""
    found = {}
    spelt: dict[str, list[str]] = {}
    for key in keys:
        spelt.setdefault(plain(key), []).append(key)
    for name, spellings in NAMES.items():
        if told := next((tuple(spelt[each]) for each in spellings if each in spelt), None):
            found[name] = told
    return found


def plain(key: str) -> str:
    """A key without a run's name, in lower case."""
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", "_", key.strip().rpartition(" - ")[2].strip().lower())


def unused(keys: Iterable[str], used: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The keys that are none of ours."""
    return shown_names(key for key in keys if not any(key in each for each in used.values()))
