"""A prepared folder: the token ids and labels of a run on disk, read through memory maps. numpy only.

    prepared.json   what the folder is, written last; see below
    ids.npy         int32, the ids of all examples one after the other
    labels.npy      int32, the same length; `labels.IGNORED` where nothing carries loss
    ends.npy        int64, where each example ends in the two
    places.txt      a line an example: the place it came from, `dataset row N` or `block N`
    packs.npy       int64, the example numbers of all packs one after the other; only when packed
    pack_ends.npy   int64, where each pack ends in it
    tokenizer/      only when the tokenizer was trained on the run's own data (`model.init`)

prepared.json holds `schema` (2), `key` (sha256 of what it was made from), `made_from` (the parts of the key),
`examples`, `tokens`, `label_tokens`, `longest` (tokens of the longest example), `packing`, `packs` (their number, null
when not packed), `padding` (share of padding tokens in batches of `micro_batch`: `without` packing, `with` it or null),
`lengths` (histogram: bucket n counts the examples of n x `width` up to below (n + 1) x `width` tokens), `summary` (what
was skipped, cut and told, as in data_summary.json) and `files` (sha256 of every other file by its name)."""

from __future__ import annotations

import glob
import json
import os
import shutil
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from llmctl_engine import packing
from llmctl_engine.about import ABOUT, SCHEMA
from llmctl_engine.digests import file_sha256, files_sha256
from llmctl_engine.errors import EngineError

TOKENIZER = "tokenizer"
Numbers = NDArray[Any]


@dataclass(frozen=True)
class Ragged:
    """Lists of numbers of different lengths, one after the other in `flat`; list n is up to `ends[n]`."""

    flat: Numbers
    ends: Numbers

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> Numbers:
        start = self.ends[number - 1] if number else 0
        return self.flat[start : self.ends[number]]

    def __iter__(self) -> Iterator[Numbers]:
        return (self[number] for number in range(len(self)))

    @classmethod
    def of(cls, lists: Iterable[Sequence[int]]) -> Ragged:
        """The same lists, int64."""
        flat, ends = array("q"), array("q")
        for each in lists:
            flat.extend(each)
            ends.append(len(flat))
        return cls(np.asarray(flat), np.asarray(ends))

    def lengths(self) -> Numbers:
        """The length of every list, int64."""
        return np.diff(self.ends, prepend=0)


@dataclass(frozen=True)
class Prepared:
    """What a prepared folder holds. The arrays are read-only maps of its files."""

    folder: Path
    about: Mapping[str, Any]
    """prepared.json."""
    ids: Ragged
    labels: Ragged
    packs: Ragged | None
    """The numbers of the examples of every pack; None when not packed."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> dict[str, Numbers]:
        """`input_ids` and `labels` of an example."""
        return {"input_ids": self.ids[number], "labels": self.labels[number]}

    def place(self, number: int) -> str:
        """Where an example came from."""
        with (self.folder / "places.txt").open(encoding="utf-8") as file:
            return next(islice(file, number, None)).rstrip("\n")

    @property
    def key(self) -> str:
        """sha256 of what the folder was made from."""
        return str(self.about["key"])

    @property
    def digest(self) -> str:
        """sha256 over the names and digests of all files: the bytes trained on."""
        return files_sha256(self.about["files"])

    @property
    def tokenizer(self) -> Path | None:
        """The folder of the tokenizer that was trained on the data; None when it is the model's own."""
        path = self.folder / TOKENIZER
        return path if path.is_dir() else None


def padding(lengths: Numbers, packs: Ragged | None, micro_batch: int) -> dict[str, float | None]:
    """The share of padding in batches of so many rows that is to be expected: a sample a row, and a pack a row."""
    without, within = packing.padding(lengths, micro_batch), None
    if packs is not None:
        within = packing.padding(np.add.reduceat(lengths[packs.flat], packs.ends - packs.lengths()), micro_batch)
    return {"without": without, "with": within}


def load(folder: str | Path) -> Prepared:
    """The folder, after a look at every byte. Raises EngineError for one that is not there, was left half-written or
    changed since, or is of another form."""
    folder = Path(folder)
    about = _about(folder)
    for name, digest in about["files"].items():
        if not (folder / name).is_file():
            raise EngineError(f"{folder} is no whole prepared folder: {name} is missing", hint=_AGAIN)
        if file_sha256(folder / name) != digest:
            raise EngineError(f"{folder} was changed after it was prepared: {name} has other bytes", hint=_AGAIN)
    return _mapped(folder, about)


def attach(folder: str | Path) -> Prepared:
    """The same without reading every byte, for a process beside the one that did."""
    return _mapped(Path(folder), _about(Path(folder)))


_AGAIN = "remove it and prepare the data again"


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineError(f"{folder} is no whole prepared folder: {ABOUT} is missing", hint=_AGAIN) from None
    except (OSError, ValueError) as error:
        raise EngineError(f"{folder / ABOUT} cannot be read: {error}", hint=_AGAIN) from None
    schema = about.get("schema") if isinstance(about, dict) else None
    if schema != SCHEMA or not isinstance(about.get("files"), dict):
        raise EngineError(f"{folder} has the form {schema}, and this engine reads {SCHEMA}", hint=_AGAIN)
    return dict(about)


def _mapped(folder: Path, about: dict[str, Any]) -> Prepared:
    def column(name: str) -> Numbers:
        mapped: Numbers = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return mapped

    try:
        ends = column("ends")
        packed = about["packs"] is not None
        prepared = Prepared(
            folder,
            about,
            ids=Ragged(column("ids"), ends),
            labels=Ragged(column("labels"), ends),
            packs=Ragged(column("packs"), column("pack_ends")) if packed else None,
        )
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"{folder} cannot be read: {error}", hint=_AGAIN) from error
    if len(prepared) != about["examples"] or len(prepared.ids.flat) != about["tokens"]:
        raise EngineError(f"{folder} holds other examples than {ABOUT} says", hint=_AGAIN)
    return prepared


class Column:
    """One array file that grows at its end: numbers of one type, a `.npy` header in front when it is closed."""

    def __init__(self, path: Path, dtype: str) -> None:
        self.path, self.dtype, self.count = path, np.dtype(dtype), 0
        self._file: BinaryIO = path.open("wb")
        self._header()

    def extend(self, numbers: Sequence[int] | Numbers) -> None:
        """Write the numbers behind those that are there."""
        found = np.ascontiguousarray(numbers, dtype=self.dtype)
        self._file.write(found.data)
        self.count += len(found)

    def close(self) -> None:
        """Say in front how many there are."""
        self._file.seek(0)
        self._header()
        self._file.close()

    def release(self) -> None:
        """Let go of the file as it is."""
        self._file.close()

    def _header(self) -> None:
        # numpy keeps room in the header for a longer first axis, so that it can be written anew in place.
        shape = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self._file, shape)


class Writer:
    """Examples to the files of a folder, one batch after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ids, self._labels = Column(folder / "ids.npy", "<i4"), Column(folder / "labels.npy", "<i4")
        self._ends = Column(folder / "ends.npy", "<i8")
        self._places = (folder / "places.txt").open("w", encoding="utf-8", newline="\n")

    def add(self, ids: Numbers, labels: Numbers, lengths: Numbers, places: Sequence[str]) -> None:
        """Examples of these lengths, whose ids and labels lie one after the other."""
        self._ends.extend(self._ids.count + np.cumsum(lengths, dtype=np.int64))
        self._ids.extend(ids)
        self._labels.extend(labels)
        self._places.writelines(" ".join(place.splitlines()) + "\n" for place in places)

    def close(self) -> Numbers:
        """End the files; where each example ends."""
        for column in (self._ids, self._labels, self._ends):
            column.close()
        self._places.close()
        return np.asarray(np.load(self.folder / "ends.npy", mmap_mode="r"))

    def release(self) -> None:
        """Let go of the files as they are; for a folder that is given up."""
        for column in (self._ids, self._labels, self._ends):
            column.release()
        self._places.close()

    def packs(self, packs: Ragged) -> None:
        """The example numbers of every pack."""
        np.save(self.folder / "packs.npy", packs.flat)
        np.save(self.folder / "pack_ends.npy", packs.ends)

    def finish(self, about: Mapping[str, Any]) -> None:
        """Write prepared.json, with the digests of everything else."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        whole = {
            "schema": SCHEMA,
            **about,
            "files": {path.relative_to(self.folder).as_posix(): file_sha256(path) for path in files},
        }
        (self.folder / ABOUT).write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def write(folder: Path) -> Iterator[Writer]:
    """A writer whose folder takes the name `folder` when the block ends well. What lies there already is replaced, and
    what makers on this machine left that were killed is cleared."""
    start = f".{folder.name}.{os.uname().nodename}."
    for left in folder.parent.glob(f"{glob.escape(start)}*"):
        if not _lives(left.name.removeprefix(start)):
            shutil.rmtree(left, ignore_errors=True)
    aside = folder.parent / f"{start}{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        writer = Writer(aside)
        try:
            yield writer
        finally:
            writer.release()
        _rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _lives(pid: str) -> bool:
    """Whether there is such a process; what is no number might be one."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True


def _rename(aside: Path, folder: Path) -> None:
    try:
        aside.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        # Of two that prepared the same at once the first has won; what is half-written or damaged is in the way.
        if _is_whole(folder) and (folder / ABOUT).read_bytes() == (aside / ABOUT).read_bytes():
            return
        shutil.rmtree(folder)
        aside.rename(folder)


def _is_whole(folder: Path) -> bool:
    try:
        load(folder)
    except EngineError:
        return False
    return True
