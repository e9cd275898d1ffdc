"""The story of `llmctl prepare`: tokenise and pack a recipe's data once on this machine, and tell what came out."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from llmctl_engine.config import to_json
from llmctl_engine.errors import EngineError
from llmctl_engine.parts import key_of, parts_of
from llmctl_engine.prepared import attach, padding

from llmctl.errors import LlmctlError, UsageError
from llmctl.recipe.load import LoadedRecipe, as_words, load_recipe
from llmctl.render.files import engine_config
from llmctl.run.plan import Plan
from llmctl.run.prepared import Prepared, alone, note_recipe, place_of, read_prepared
from llmctl.workflows.engine_process import run_module
from llmctl.workflows.fitting import plan_here

MODULE = "llmctl_engine.prepare"


class Teller(Protocol):
    """Who is told how it goes on."""

    def step(self, text: str) -> None:
        """A new part of the work begins."""

    def rows(self, done: int, total: int | None) -> None:
        """So many rows are done."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One of the first samples: its text in pieces, each with whether it carries loss."""

    place: str
    pieces: Sequence[tuple[str, bool]]
    tokens: int
    label_tokens: int


@dataclass(frozen=True, kw_only=True)
class Made:
    """What `llmctl prepare` found or made."""

    words: Sequence[str]
    """The recipe, as it was given to the command."""
    plan: Plan
    prepared: Prepared
    was_there: bool
    seconds: float
    samples: Sequence[Shown]


@dataclass
class Heard:
    """What the engine's process told so far."""

    teller: Teller
    samples: list[Shown] = field(default_factory=list)

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take one line of it."""
        if "done" in line:
            self.teller.rows(line["done"], line["total"])
        elif "pieces" in line:
            pieces = [(str(text), bool(loss)) for text, loss in line["pieces"]]
            self.samples.append(
                Shown(place=line["place"], pieces=pieces, tokens=line["tokens"], label_tokens=line["label_tokens"])
            )


def prepare(
    source: str, *, sets: Sequence[str] = (), workers: int | None = None, samples: int = 0, teller: Teller
) -> Made:
    """Prepare what a recipe trains on, unless it is there. Raises UsageError for anything wrong in the recipe or its
    data, for what lies on the nodes only, and without the engine's libraries; nothing half-written is left then, nor
    when it is broken off."""
    began = time.monotonic()
    loaded = load_recipe(source, sets)
    plan = plan_here(loaded)
    config = engine_config(plan)
    try:
        folder = place_of(key_of(parts_of(config)))
    except EngineError as error:
        raise UsageError(
            error.what,
            where=str(loaded.path),
            hint=error.hint or "`llmctl run` prepares it on each node before it trains",
        ) from None
    heard = Heard(teller)
    try:
        with alone(folder, lambda: teller.step("waiting for another llmctl, which prepares the same")) as aside:
            there = read_prepared(folder)
            if there is not None:
                teller.step(f"is there: {folder}")
            else:
                teller.rows(0, None)
            (aside / "engine.json").write_text(to_json(config), encoding="utf-8")
            words = [MODULE, str(aside / "engine.json"), "--to", str(aside if there is None else folder.parent)]
            words += ["--workers", str(workers)] if workers else []
            words += ["--samples", str(samples)] if samples else []
            if there is None or samples:
                run_module(loaded.recipe, _python(loaded), words, aside, heard.hear)
            if there is None:
                made = aside / folder.name
                note_recipe(made, loaded.path)
                shutil.rmtree(folder, ignore_errors=True)  # of another form, or not whole
                made.rename(folder)
            else:
                note_recipe(folder, loaded.path)
    except OSError as error:
        raise UsageError(
            "cannot write",
            where=str(error.filename or folder),
            why=error.strerror or str(error),
            hint="LLMCTL_CACHE names another folder",
        ) from None
    prepared = there or read_prepared(folder)
    if prepared is None:
        raise LlmctlError("what was prepared cannot be read", where=str(folder))
    return Made(
        words=as_words(source, sets),
        plan=plan,
        prepared=_in_batches(prepared, config.train.micro_batch),
        was_there=there is not None,
        seconds=time.monotonic() - began,
        samples=tuple(heard.samples),
    )


def _in_batches(prepared: Prepared, micro_batch: int) -> Prepared:
    """The same with the padding in batches of so many rows: it is no part of the key, and the folder tells that of the
    recipe which it was made from."""
    try:
        whole = attach(prepared.folder)
    except EngineError as error:
        raise UsageError(error.what, hint=error.hint) from None
    shares = padding(whole.ids.lengths(), whole.packs, micro_batch)
    return replace(prepared, told={**prepared.told, "padding": shares})


def _python(loaded: LoadedRecipe) -> str:
    local = loaded.recipe.launch.backend == "local" and loaded.recipe.cluster.container is None
    return (loaded.recipe.cluster.python if local else None) or sys.executable
