"""Checkpoint folders that are whole or not there. `checkpoint-N` is written aside, synced and renamed; its marker,
written last, says what it holds. Standard library only."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

ASIDE = ".writing"
MARKER = "llmctl_checkpoint.json"


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What a good checkpoint says of itself."""

    step: int
    world_size: int
    sizes: dict[str, int]
    """Bytes of every file, by relative path."""


def aside(output: Path) -> Path:
    """The folder below which a checkpoint is written before it counts."""
    return output / ASIDE


def clear_aside(output: Path) -> None:
    """Remove what an interrupted save left behind."""
    shutil.rmtree(aside(output), ignore_errors=True)


def assert_room(output: Path, error: Exception) -> None:
    """Raise OSError (ENOSPC) from `error`, with which a checkpoint failed, when the disk below `output` is full."""
    if shutil.disk_usage(output).free < _FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output)) from error


_FULL = 1 << 20
"""Bytes that are free on a disk on which a checkpoint found no room: the last block may stay."""


def sync(folder: Path) -> dict[str, int]:
    """Flush every file and folder below `folder` to the disk; the files' sizes by relative path."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        _sync(path)
        if path.is_file():
            sizes[str(path.relative_to(folder))] = path.stat().st_size
    _sync(folder)
    return sizes


def publish(output: Path, step: int, *, world_size: int) -> Path:
    """Make the checkpoint that was written aside a good one; its folder. Raises OSError when the disk refuses."""
    written, final = aside(output) / f"checkpoint-{step}", output / f"checkpoint-{step}"
    marker = Marker(step=step, world_size=world_size, sizes=sync(written))
    (written / MARKER).write_text(json.dumps(asdict(marker)) + "\n", encoding="utf-8")
    _sync(written / MARKER)
    _sync(written)
    shutil.rmtree(final, ignore_errors=True)
    written.rename(final)
    _sync(output)
    clear_aside(output)
    return final


def read_marker(folder: Path) -> Marker | None:
    """The marker of a good checkpoint; None for a folder that is not whole."""
    try:
        marker = Marker(**json.loads((folder / MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    whole = all((folder / name).is_file() and (folder / name).stat().st_size == n for name, n in marker.sizes.items())
    return marker if whole else None


def good_steps(output: Path) -> list[int]:
    """The steps of the good checkpoints below `output`, rising."""
    return sorted(survey(output))


def survey(output: Path) -> dict[int, Marker]:
    """The markers of the good checkpoints below `output`, by step."""
    markers = (read_marker(folder) for folder in output.glob("checkpoint-*"))
    return {marker.step: marker for marker in markers if marker is not None}


def prune(output: Path, limit: int | None) -> None:
    """Keep the newest `limit` good checkpoints; what is not whole goes too once a newer good one stands."""
    good = good_steps(output)
    if not good:
        return
    keep = set(good[-limit:] if limit else good)
    for folder in output.glob("checkpoint-*"):
        number = folder.name.rpartition("-")[2]
        if number.isdigit() and int(number) < good[-1] and int(number) not in keep:
            shutil.rmtree(folder)


def newest_common(steps: Iterable[Iterable[int]]) -> int | None:
    """The newest step that every rank has; None for none."""
    common = set.intersection(*(set(mine) for mine in steps))
    return max(common, default=None)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if __name__ == "__main__":
    found = survey(Path(sys.argv[1]))
    print(json.dumps({step: asdict(marker) for step, marker in found.items()}))  # noqa: T201
