"""`python -m llmctl_engine.prepare engine.json --to CACHE`: the data of a run, tokenised and packed once, to disk."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from llmctl_engine import config as engine_config
from llmctl_engine import data, hub, labels, packing, pool, prepared
from llmctl_engine.about import ABOUT
from llmctl_engine.building import Builder, Chunk
from llmctl_engine.config import EngineConfig
from llmctl_engine.errors import EngineError
from llmctl_engine.parts import differences, key_of, parts_of, rules_of
from llmctl_engine.prepared import Numbers, Prepared, Ragged
from llmctl_engine.tokenizer import Tokenizer, leave_out_torch, load_tokenizer, train_tokenizer

Progress = Callable[[int, int | None], None]
"""Rows done, rows in all where that is known."""
BYTES_A_WORKER = 2 << 20
"""A process more is worth its start where there is so much more data."""
EVERY = 0.2
"""Seconds between two lines of progress at least."""


def prepare(config: EngineConfig, cache: Path, *, workers: int, progress: Progress) -> Prepared:
    """The prepared folder of a run, below `cache` by its key, made unless it is there whole. `workers` is the number of
    processes at most; the bytes are the same for any.

    Raises EngineError for data, a template or a tokenizer of which nothing can be made; then nothing is left."""
    parts = parts_of(config, hub.load)
    folder = cache / key_of(parts)[:16]
    if (folder / ABOUT).is_file():
        with suppress(EngineError):  # one that is not whole is made anew, in its place
            return prepared.load(folder)
    found = data.sources_of(config)
    # Whether the order of the rows, or the tokenizer, follows from all of them.
    first = config.model.path is None or (config.data.mix != "concat" and len(found) > 1)
    looked = data.look(config) if first else None
    tally = data.Tally(broken=list(looked.broken) if looked else [])
    with prepared.write(folder) as writer:
        trained = None
        if config.model.path is None and looked:
            trained = writer.folder / prepared.TOKENIZER
            vocab_size = int((config.model.init or {}).get("vocab_size", 8000))
            train_tokenizer(looked.samples(), vocab_size=vocab_size).save_pretrained(trained)
        tokenizer = load_tokenizer(config.model, trained)
        builder = Builder(config, found, tokenizer)
        given = looked.numbered() if looked else data.in_order(config, found)
        size = sum(path.stat().st_size for source in found for path in source.files)
        wanted = min(workers, size // BYTES_A_WORKER) if size else workers
        alone = (builder.build(chunk) for chunk in pool.cut(given))
        built = pool.build(config, found, trained, given, wanted) if wanted > 1 else alone
        # Both are closed at once, also when progress raises: an error's traceback would keep the processes alive.
        with (
            closing(built),
            closing(_told(config, built, len(looked) if looked else None, progress)) as chunks,
        ):
            for laid in data.layout(config, map(tally.see, chunks), tokenizer, builder.end):
                tally.add(laid)
                writer.add(laid.ids, laid.labels, laid.lengths, laid.places)
        if not tally.rows:
            raise EngineError(f"no row to train on in {', '.join(config.data.datasets)}")
        if not tally.examples:
            raise EngineError("no sample carries a label", hint="raise data.cutoff_len")
        lengths = np.diff(writer.close(), prepend=0)
        packs = Ragged.of(packing.pack(lengths, config.data.cutoff_len)) if config.packing == "exact" else None
        if packs is not None:
            writer.packs(packs)
        writer.finish(
            {
                "key": key_of(parts),
                "made_from": parts,
                "examples": tally.examples,
                "tokens": tally.tokens,
                "label_tokens": tally.label_tokens,
                "longest": tally.longest,
                "packing": config.packing,
                "packs": None if packs is None else len(packs),
                "padding": prepared.padding(lengths, packs, config.train.micro_batch),
                "lengths": histogram(lengths),
                "summary": tally.summary(tokenizer.eos_token),
            }
        )
    return prepared.load(folder)


def for_run(config: EngineConfig, progress: Progress) -> Prepared:
    """What a run trains on: the folder that it names, else one below its own, made if need be. Raises EngineError as
    `prepare`, and for a folder that was prepared otherwise than this run wants."""
    if config.data.prepared is None:
        return prepare(config, Path(config.output_dir) / "prepared", workers=pool.cores(), progress=progress)
    found = prepared.load(config.data.prepared)
    other = differences(found.about["made_from"], rules_of(config))
    if other:
        raise EngineError(
            f"{found.folder} was prepared otherwise than this run is: {', '.join(other)}", hint="prepare the data again"
        )
    return found


def _told(config: EngineConfig, chunks: Iterable[Chunk], total: int | None, progress: Progress) -> Generator[Chunk]:
    """The chunks, each of which is told. Raises EngineError for broken rows unless they are to be skipped."""
    done = 0
    progress(done, total)
    for chunk in chunks:
        if chunk.broken and config.data.broken_rows == "stop":
            data.look(config)  # raises for all of them
        yield chunk
        done += chunk.rows
        progress(done, total)


def histogram(lengths: Numbers) -> dict[str, Any]:
    """How many lengths fall in each of at most 16 buckets of a width that is a power of two."""
    width = 1
    while lengths.max() // width >= 16:
        width *= 2
    return {"width": width, "counts": np.bincount(lengths // width).tolist()}


def pieces(found: Prepared, number: int, tokenizer: Tokenizer) -> dict[str, Any]:
    """An example as text: its place, its tokens, and the pieces of it with whether they carry loss."""
    ids, told = found.ids[number].tolist(), found.labels[number].tolist()
    # Nothing predicts the first token.
    carries = [False, *(label != labels.IGNORED for label in told[1:])]
    runs = [(loss, [i for i, _ in run]) for loss, run in groupby(zip(ids, carries, strict=True), lambda pair: pair[1])]
    return {
        "place": found.place(number),
        "tokens": len(ids),
        "label_tokens": sum(carries),
        "pieces": [[tokenizer.decode(run, skip_special_tokens=False), loss] for loss, run in runs],
    }


def main(arguments: list[str]) -> int:
    """Prepare as the command line says; the exit code. Tells how it goes on in lines of JSON."""
    parser = argparse.ArgumentParser(prog="python -m llmctl_engine.prepare", description=__doc__)
    parser.add_argument("config", metavar="engine.json")
    parser.add_argument("--to", metavar="CACHE", required=True, type=Path, help="below this folder, by its key")
    parser.add_argument("--workers", metavar="N", type=int, default=pool.cores(), help="processes at most")
    parser.add_argument("--samples", metavar="N", type=int, default=0, help="print so many of the first examples")
    given = parser.parse_args(arguments)
    try:
        config = engine_config.load(given.config)
        leave_out_torch(config.model)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        found = prepare(config, given.to, workers=max(given.workers, 1), progress=_Lines())
        if given.samples:
            tokenizer = load_tokenizer(config.model, found.tokenizer)
            for number in range(min(given.samples, len(found))):
                _tell(pieces(found, number, tokenizer))
    except EngineError as error:
        return _refused(error.what, error.hint)
    except (OSError, ValueError) as error:
        return _refused(str(error))
    _tell({"prepared": str(found.folder)})
    return 0


def _refused(what: str, hint: str = "") -> int:
    """Tell on standard error what is wrong, and in a line of its own what to do; the exit code."""
    print(f"error: {what}" + (f"\nnext: {hint}" if hint else ""), file=sys.stderr)  # noqa: T201
    return 1


class _Lines:
    """Progress as lines of JSON, not too many."""

    def __init__(self) -> None:
        self.told = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        if done == total or time.monotonic() - self.told >= EVERY:
            self.told = time.monotonic()
            _tell({"done": done, "total": total})


def _tell(line: dict[str, Any]) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
