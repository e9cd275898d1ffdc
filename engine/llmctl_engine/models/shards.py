"""The weights of a folder, read shard by shard: one shard at a time is mapped besides what the model holds."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import EllipsisType
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled

from llmctl_engine.errors import EngineError
from llmctl_engine.models.folder import SAFETENSORS


class Piece:
    """A weight that is read when it is asked for, as transformers asks: `piece[...]`."""

    def __init__(self, name: str, path: Path, shards: Shards) -> None:
        self._name, self._path, self._shards = name, path, shards

    def __getitem__(self, whole: EllipsisType) -> torch.Tensor:
        return self._shards.take(self._path, self._name)[whole]


class Shards:
    """Files of weights, of which the one that was asked for last is open. Transformers reads names in order and in
    several threads; published folders hold names in that order too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._tensors: Mapping[str, Any] = {}

    def names(self, path: Path) -> list[str]:
        """The names in a file. Raises EngineError when it holds anything else than tensors by their names."""
        with self._lock:
            return list(self._open(path))

    def take(self, path: Path, name: str) -> torch.Tensor:
        """A weight, mapped and not read where its file can be mapped."""
        with self._lock:
            tensor: torch.Tensor = self._open(path)[name]
            return tensor

    def _open(self, path: Path) -> Mapping[str, Any]:
        if path != self._path:
            self._path, self._tensors = None, {}
            self._tensors = _tensors(path)
            self._path = path
        return self._tensors


def weights(files: Iterable[Path]) -> dict[str, Piece]:
    """Name -> piece. Raises EngineError for a file that cannot be read or holds something else than tensors; code in a
    pickle is not run."""
    shards = Shards()
    return {name: Piece(name, path, shards) for path in files for name in shards.names(path)}


def load_shard_by_shard(model: Any, state_dict: Any, checkpoint_files: Any, load_config: Any, *rest: Any) -> Any:
    """PreTrainedModel's `_load_pretrained_model`, which maps all files until the last weight is read: where weights are
    cast, as much memory as all of them take would count as the process's own. Left to transformers: what is quantised,
    offloaded to a disk, or dealt out over processes by ZeRO-3, of which it then does not tell what was left over."""
    load = PreTrainedModel._load_pretrained_model
    offloaded = "disk" in (load_config.device_map or {}).values()
    if state_dict is not None or load_config.hf_quantizer or offloaded:
        return load(model, state_dict, checkpoint_files, load_config, *rest)
    pieces = weights(map(Path, checkpoint_files or ()))
    if not is_deepspeed_zero3_enabled():
        return load(model, pieces, checkpoint_files, load_config, *rest)
    loaded, index = load(model, None, checkpoint_files, load_config, *rest)
    loaded.unexpected_keys |= pieces.keys() - model.state_dict().keys()
    return loaded, index


class _Safetensors(Mapping[str, torch.Tensor]):
    """An open safetensors file; its mapping ends with it and with the tensors that were taken."""

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self._file = safe_open(path, framework="pt")
        self._names: list[str] = list(self._file.keys())  # type: ignore[no-untyped-call]

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._file.get_tensor(name)  # type: ignore[no-untyped-call]
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _tensors(path: Path) -> Mapping[str, Any]:
    with _told(path):
        if path.suffix == SAFETENSORS:
            return _Safetensors(path)
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        # Only zip files can be mapped; older ones are read, one at a time.
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    if not isinstance(held, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in held.items()
    ):
        raise EngineError(f"{path} holds no tensors by their names", hint="is it a checkpoint of another program?")
    return held


@contextmanager
def _told(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except pickle.UnpicklingError as error:
        raise EngineError(
            f"{path} holds a pickle that is more than tensors, or broken; it was not run",
            hint="get the weights as safetensors, or from who made them",
        ) from error
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as e:
        raise EngineError(f"{path} cannot be read: {' '.join(str(e).split())[:300]}", hint="copy it again") from e
