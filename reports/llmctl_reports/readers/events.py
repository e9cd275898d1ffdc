"""TensorBoard's event files, with the extra `tensorboard`."""

from __future__ import annotations

import math
import struct
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmctl_reports.errors import ReportError
from llmctl_reports.readers.common import final_of
from llmctl_reports.readers.gather import EXTRAS, Gathering, view
from llmctl_reports.readers.names import columns_of, plain, unused
from llmctl_reports.readers.records import records
from llmctl_reports.readers.source import Source
from llmctl_reports.values import BROKEN, Column, RunLog

VERSION = "brain.Event:"
"""What the first record of every event file says."""
MESSAGES = {
    "Event": {"step": (2, "int64"), "wall_time": (1, "double"), "summary": (5, "Summary")},
    "Summary": {"value": (1, "Value*")},
    "Value": {"tag": (1, "bytes"), "simple_value": (2, "float"), "tensor": (8, "Tensor")},
    "Tensor": {"kind": (1, "int64"), "content": (4, "bytes"), "floats": (5, "float*"), "doubles": (6, "double*")},
}
"""Numbers and types of the fields that are read, from TensorFlow's event.proto, summary.proto and tensor.proto."""
FLOAT, DOUBLE = 1, 2


@dataclass
class Scalars:
    """The values of one tag in the order of the files."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    times: array[float] = field(default_factory=lambda: array("d"))
    """Seconds since 1970."""

    def at(self, steps: NDArray[np.int64]) -> Column:
        """The value at each step, of several the last; NaN where there is none."""
        mine = np.frombuffer(self.steps, dtype=np.int64)
        order = np.argsort(mine, kind="stable")
        place = np.searchsorted(mine[order], steps, side="right") - 1
        found = (place >= 0) & (mine[order][place] == steps)
        return np.where(found, view(self.values)[order][place], math.nan)


def sniff(head: str) -> bool:
    """Whether the first record is that of an event file."""
    return VERSION in head[:64]


def in_folder(folder: Path) -> tuple[Path, ...]:
    """The event files of a folder, or of the one folder below it that has any, in the order of their making. Raises
    ReportError when several folders have some: each is a run."""
    for level in ("", "*/", "*/*/", "*/*/*/"):
        files = sorted(folder.glob(f"{level}events.out.tfevents.*"), key=_made)
        folders = sorted({str(file.parent) for file in files})
        if len(folders) > 1:
            raise ReportError(
                "event files of several runs in this folder",
                where=str(folder),
                hint=f"give one of {', '.join(folders)}",
            )
        if files:
            return tuple(files)
    return ()


def _made(file: Path) -> tuple[int, str]:
    """The second that a file's name tells, and the name."""
    second = file.name.split(".")[3]
    return (int(second) if second.isdecimal() else 0), file.name


def read(source: Source) -> RunLog:
    """All scalars that go by a known name, of all files of a folder in the order of their making. Raises ReportError
    without the extra that reads them."""
    dropped: Counter[str] = Counter()
    tags: dict[str, Scalars] = {}
    parse, checksum = _libraries(source)
    for path in (source.path, *source.more):
        for data in records(path, checksum, dropped):
            event = parse(data)
            if event is None:
                dropped[BROKEN] += 1
                continue
            for tag, value in _scalars(event):
                mine = tags.setdefault(tag, Scalars())
                mine.steps.append(event.step)
                mine.values.append(value)
                mine.times.append(event.wall_time)
    names = {name: keys[:1] for name, keys in columns_of(tuple(tags)).items() if name != "step"}
    found = Gathering()
    found.dropped.update(dropped)
    if "loss" in names:
        _take(found, tags, {name: key for name, (key,) in names.items()})
    others = {tag: each for tag, each in tags.items() if (tag,) != names.get("loss")}
    final = final_of({plain(tag).removeprefix("train/"): each.values[-1] for tag, each in others.items()})
    return RunLog(
        source=str(source.path),
        format="TensorBoard",
        points=found.points(),
        dropped=found.dropped,
        final=final,
        unused=unused(tags, names),
    )


def _take(found: Gathering, tags: Mapping[str, Scalars], names: Mapping[str, str]) -> None:
    """The losses, and what stands at their steps. Where no time of a step is told it follows from the clock."""
    losses = tags[names["loss"]]
    steps = np.frombuffer(losses.steps, dtype=np.int64)
    columns = {"loss": view(losses.values)}
    columns |= {name: tags[names[name]].at(steps) for name in EXTRAS if name in names}
    if "seconds" not in columns:
        done = np.diff(steps, prepend=steps[:1])
        taken = np.diff(view(losses.times), prepend=losses.times[0])
        columns["seconds"] = np.divide(taken, done, out=np.full(steps.size, math.nan), where=(done > 0) & (taken > 0))
    kept = (steps >= 0) & (steps < 2**53)
    found.extend(steps[kept], {name: column[kept] for name, column in columns.items()})


def _scalars(event: Any) -> Iterator[tuple[str, float]]:
    """(tag, value) of an event's scalars; TensorFlow 2 writes them as tensors."""
    for value in event.summary.value:
        number = value.simple_value if value.HasField("simple_value") else _only(value.tensor)
        if number is not None:
            yield value.tag.decode("utf-8", "replace"), number


def _only(tensor: Any) -> float | None:
    """The number of a tensor that holds one."""
    form = {FLOAT: "<f", DOUBLE: "<d"}.get(tensor.kind)
    if form is None:
        return None
    if len(tensor.content) == struct.calcsize(form):
        return float(struct.unpack(form, tensor.content)[0])
    values = tensor.floats if tensor.kind == FLOAT else tensor.doubles
    return float(values[0]) if len(values) == 1 else None


def _libraries(source: Source) -> tuple[Callable[[bytes], Any], Callable[[bytes], int]]:
    """What reads an event, None for one that is damaged, and what makes a CRC32C."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
        from google_crc32c import value as checksum
    except ImportError as error:
        raise ReportError(
            "TensorBoard's event files are read with an extra that is not installed",
            where=str(source.path),
            why=str(error),
            hint="pip install 'llmctl[tensorboard]'",
        ) from None
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="llmctl", syntax="proto2")
    for name, members in MESSAGES.items():
        made = file.message_type.add(name=name)
        for member, (number, kind) in members.items():
            plain_kind = kind.rstrip("*")
            made.field.add(
                name=member,
                number=number,
                label=kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL,
                type=kinds.TYPE_MESSAGE if plain_kind in MESSAGES else kinds.Type.Value(f"TYPE_{plain_kind.upper()}"),
                type_name=f".llmctl.{plain_kind}" if plain_kind in MESSAGES else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    event = message_factory.GetMessageClass(pool.FindMessageTypeByName("llmctl.Event"))

    def parse(data: bytes) -> Any:
        try:
            return event.FromString(data)
        except message.DecodeError:
            return None

    return parse, checksum
