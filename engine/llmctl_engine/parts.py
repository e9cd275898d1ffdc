"""What the tokens of a run follow from, by content: two runs with equal parts train on the same bytes. Standard library
only: the launcher looks with it for what is prepared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmctl_engine.config import EngineConfig, ModelConfig
from llmctl_engine.digests import Digest, file_sha256
from llmctl_engine.errors import EngineError
from llmctl_engine.own_template import OWN_TEMPLATE
from llmctl_engine.rows import Fetch
from llmctl_engine.sources import Source, sources
from llmctl_engine.templates import OWN, TEMPLATES

VERSION = 1
"""Goes up when the same parts come to give other bytes."""
TOKENIZER_FILES = (
    "tokenizer*", "*.model", "*.tiktoken", "vocab*", "merges*", "added_tokens.json", "special_tokens_map.json",
    "chat_template*", "additional_chat_templates/*",
)  # fmt: skip
"""What of a model's folder makes its tokenizer."""
_CONFIG_KEYS = ("model_type", "architectures", "tokenizer_class", "auto_map")
"""What of its config.json chooses the tokenizer's class."""


def parts_of(config: EngineConfig, fetch: Fetch | None = None, digest: Digest = file_sha256) -> dict[str, Any]:
    """All of it, as JSON; `fetch` reads the rows of the hub. Raises EngineError for data or a tokenizer that is not
    there, and for a dataset of the hub without `fetch`."""
    data = config.data
    try:
        found = sources(Path(data.dir), data.datasets)
        rows = {source.name: _source(source, data.max_samples, fetch, digest) for source in found}
        return {"data": rows, **rules_of(config)}
    except (OSError, ValueError) as error:
        raise EngineError(str(error)) from error


def rules_of(config: EngineConfig) -> dict[str, Any]:
    """The same without the data. Raises EngineError without a model's folder, OSError where it cannot be read."""
    train, data, chat = config.train, config.data, config.train.stage != "pt"
    template = OWN_TEMPLATE if config.model.template == OWN else TEMPLATES[config.model.template]
    return {
        "version": VERSION,
        "stage": train.stage,
        "tokenizer": tokenizer_parts(config.model),
        "template": {config.model.template: _sha256(repr(template).encode())} if chat else None,
        "settings": {
            "datasets": list(data.datasets),
            "cutoff_len": data.cutoff_len,
            "cutoff_rule": (data.cutoff_rule or template.cutoff_rule) if chat else None,
            "packing": config.packing,
            "loss_on": data.loss_on if chat else None,
            "max_samples": data.max_samples,
            "broken_rows": data.broken_rows,
            "mix": data.mix,
            "probabilities": list(data.probabilities),
            "seed": train.seed if data.probabilities else None,
            "fill": dict(data.fill),
        },
    }


def differences(made_from: Mapping[str, Any], rules: Mapping[str, Any]) -> list[str]:
    """The names of rules by which something else was made. Of a tokenizer's files those count that both have: the
    weights' folder may hold more of them."""
    found = [name for name in ("version", "stage", "template") if made_from[name] != rules[name]]
    then, now = made_from["tokenizer"], rules["tokenizer"]
    found += [f"tokenizer: {name}" for name in sorted(then.keys() & now.keys()) if then[name] != now[name]]
    if not then.keys() & now.keys():
        found.append("tokenizer")
    then, now = made_from["settings"], rules["settings"]
    return found + [name for name in now if then.get(name) != now[name]]


def all_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The same of two that both name their data: the datasets whose rows are others, then the rules."""
    rows = [name for name in now["data"] if then["data"].get(name, now["data"][name]) != now["data"][name]]
    return [f"data: {name}" for name in rows] + differences(then, now)


def key_of(parts: Mapping[str, Any]) -> str:
    """The sha256 over the parts."""
    return _sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def tokenizer_parts(model: ModelConfig) -> dict[str, Any]:
    """Of a tokenizer that is trained on the data its size, else the digests of its files. Raises OSError for a folder
    that cannot be read."""
    if model.path is None:
        return {"trained": (model.init or {}).get("vocab_size")}
    folder = Path(model.path)
    if not folder.is_dir():
        raise EngineError(f"no such model folder: {folder}", hint="see model.path")
    patterns = (*TOKENIZER_FILES, "*.py") if model.trust_remote_code else TOKENIZER_FILES
    return {name: file_sha256(folder / name) for name in _names(folder, patterns)} | _chosen(folder / "config.json")


def _names(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _chosen(config: Path) -> dict[str, Any]:
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {key: values[key] for key in _CONFIG_KEYS if isinstance(values, dict) and key in values}


def _source(source: Source, limit: int | None, fetch: Fetch | None, digest: Digest) -> dict[str, Any]:
    read_as = {
        "formatting": source.formatting,
        "ranking": source.ranking,
        "limit": source.limit,
        "columns": dict(source.columns),
        "tags": dict(source.tags),
        "forms": [path.suffix for path in source.files],
    }
    if source.hub is None:
        return read_as | {"sha256": [digest(path) for path in source.files]}
    if fetch is None:
        raise ValueError(f"dataset {source.name}: lies on the hub only, as {source.hub}")
    whole = hashlib.sha256()
    for row in fetch(source, limit):
        whole.update(json.dumps(row, sort_keys=True, default=repr).encode() + b"\n")
    return read_as | {"hub": source.hub, "subset": source.subset, "split": source.split, "sha256": whole.hexdigest()}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
