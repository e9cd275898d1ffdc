"""Datasets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmctl_engine.sources import Source


def load(source: Source, limit: int | None) -> Iterable[Any]:
    """The first `limit` rows of the dataset. Raises ValueError, which tells where to put a file instead, without the
    package `datasets`, without a network, and for what the hub does not have."""
    advice = f"put its rows beside dataset_info.json as {source.name}.json or .parquet"
    try:
        import datasets
    except ImportError:
        raise ValueError(f"dataset {source.name}: the hub needs the package datasets; or {advice}") from None
    split = source.split if limit is None else f"{source.split}[:{limit}]"
    try:
        rows: Iterable[Any] = datasets.load_dataset(source.hub, source.subset, split=split)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"dataset {source.name}: {source.hub} cannot be had from the hub: {str(error).splitlines()[0]}; without a "
            f"network {advice}"
        ) from None
    return rows
