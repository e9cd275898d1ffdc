"""How prepared data looks: its statistics, and samples with the part that carries loss marked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

    from llmctl.workflows.prepare import Made, Shown

BARS, WIDE = 12, 40
"""Lines of the histogram at most, and letters of its longest bar."""
LONGEST = 1600
"""Letters of a piece of a sample that are shown; more lose their middle."""
WORTH = 0.05
"""A share of padding above which packing is advised."""
OPEN, CLOSE = "⟦", "⟧"
"""Around what carries loss, where there is no colour."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def show(made: Made) -> None:
    """Print all of it on standard output; the terminal breaks long lines."""
    from llmctl.cli.console import console

    out = console()
    colour = out.color_system is not None and not out.no_color

    def tell(line: str | Text, style: str | None = None) -> None:
        out.print(line, markup=False, soft_wrap=True, style=style)

    for line in statistics(made):
        tell(line)
    if made.samples and not colour:
        tell(f"\nwhat stands in {OPEN} {CLOSE} carries loss")
    for number, sample in enumerate(made.samples, 1):
        numbers = f"{sample.tokens} tokens, {sample.label_tokens} of them with loss"
        tell(f"\nsample {number}: {sample.place}, {numbers}", "dim" if colour else None)
        tell(_coloured(sample) if colour else marked(sample))
    tell(f"\nnext: {shlex.join(['llmctl', 'run', *made.words])}")


def statistics(made: Made) -> list[str]:
    """A line a fact: examples, tokens, loss, packs, padding, lengths, what was cut or left out."""
    from llmctl_engine.complaints import complaints

    told, data = made.prepared.told, made.plan.recipe.data
    examples, tokens, steps = told["examples"], told["tokens"], made.plan.steps(made.prepared.samples)
    took = "prepared before" if made.was_there else f"prepared in {made.seconds:.1f} s"
    rows = [
        ("examples", f"{examples:,}", f"of {told['summary']['rows']:,} rows"),
        ("tokens", f"{tokens:,}", f"{tokens / examples:.1f} an example, {told['longest']:,} the longest"),
        ("with loss", f"{told['label_tokens']:,}", f"{told['label_tokens'] / tokens:.1%} of the tokens"),
        *_packed(told),
        ("steps", f"{steps:,}", f"of {made.plan.global_batch} {_filled(told)} each"),
    ]
    wide = max(len(value) for _, value, _ in rows)
    return [
        f"{made.plan.recipe.name}: {', '.join(data.datasets)}; template {made.plan.recipe.model.template}, "
        f"cutoff_len {data.cutoff_len}, packing {told['packing']}",
        f"{took}: {made.prepared.folder}",
        "",
        *(f"{name:<10} {value:>{wide}}  {rest}" for name, value, rest in rows),
        "",
        *histogram(told["lengths"]),
        *(["", *lines] if (lines := complaints(told["summary"])) else []),
    ]


def _filled(told: Mapping[str, Any]) -> str:
    return "examples" if told["packs"] is None else "packs"


def _packed(told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    without, packed = told["padding"]["without"], told["padding"]["with"]
    if told["packs"] is None:
        advice = "; data.packing: exact would save most of it" if without > WORTH else ""
        return [("padding", f"{without:.1%}", "of what is computed" + advice)]
    saved = f"{saving(told):.0%} less to compute"
    return [
        ("packs", f"{told['packs']:,}", f"{told['examples'] / told['packs']:.1f} examples each"),
        (
            "padding",
            f"{packed:.1%}",
            f"of what is computed, {without:.1%} without packing; {saved}",
        ),
    ]


def saving(told: Mapping[str, Any]) -> float | None:
    """The share of tokens, padding included, that need not be computed thanks to packing; None where nothing is
    packed."""
    without, packed = told["padding"]["without"], told["padding"]["with"]
    return None if packed is None else 1 - (1 - without) / (1 - packed)


def histogram(lengths: Mapping[str, Any]) -> list[str]:
    """How many examples have how many tokens, a bar a bucket from the shortest on; neighbours are added up to at most
    BARS lines."""
    counts, width = list(lengths["counts"]), int(lengths["width"])
    while len(counts) > BARS:
        counts, width = [sum(counts[at : at + 2]) for at in range(0, len(counts), 2)], 2 * width
    most, edge = max(counts), len(str(len(counts) * width))
    wide = len(f"{most:,}")
    first = next(at for at, count in enumerate(counts) if count)
    lines = [
        f"{at * width:>{edge}}-{(at + 1) * width - 1:<{edge}}  {count:>{wide},}  {_bar(count, most)}"
        for at, count in enumerate(counts)
        if at >= first
    ]
    return ["tokens of an example", *map(str.rstrip, lines)]


def _bar(count: int, most: int) -> str:
    return "#" * -(-count * WIDE // most)


def marked(sample: Shown) -> str:
    """The text of a sample, what carries loss between marks."""
    return "".join(f"{OPEN}{text}{CLOSE}" if loss else text for text, loss in _pieces(sample))


def _coloured(sample: Shown) -> Text:
    from rich.text import Text

    whole = Text()
    for text, loss in _pieces(sample):
        whole.append(text, style="bold green" if loss else "")
    return whole


def _pieces(sample: Shown) -> list[tuple[str, bool]]:
    """Pieces as they may be shown, neighbours of one kind as one."""
    grouped = groupby(sample.pieces, key=lambda piece: piece[1])
    return [(readable("".join(text for text, _ in group)), loss) for loss, group in grouped]


def readable(text: str) -> str:
    """Data as it may be shown: both ends of a long text; control characters, which move a terminal, as numbers."""
    if len(text) > LONGEST:
        ends = text[: LONGEST // 2], text[-LONGEST // 2 :]
        text = f" ... {len(text) - LONGEST:,} letters ... ".join(ends)
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def as_plain(made: Made) -> dict[str, Any]:
    """For machines; `schema` 1."""
    told = {name: value for name, value in made.prepared.told.items() if name != "schema"}
    return {
        "schema": 1,
        "recipe": made.plan.recipe.name,
        "path": str(made.prepared.folder),
        "was_there": made.was_there,
        "steps": made.plan.steps(made.prepared.samples),
        "saved": saving(told),
        **told,
        "samples": [_sample(sample) for sample in made.samples],
    }


def _sample(sample: Shown) -> dict[str, Any]:
    pieces: Sequence[dict[str, Any]] = [{"text": text, "loss": loss} for text, loss in sample.pieces]
    return {
        "place": sample.place,
        "tokens": sample.tokens,
        "label_tokens": sample.label_tokens,
        "pieces": pieces,
    }
