"""How prepared data is shown, with colour and without."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from llmctl.cli import prepare, prepare_shown
from llmctl.recipe.hosts import Node
from llmctl.recipe.schema import Recipe
from llmctl.run.plan import NodePaths, make_plan
from llmctl.run.prepared import Prepared
from llmctl.workflows.prepare import Made, Shown

GOLDEN = Path(__file__).with_name("golden")
PATHS = NodePaths(run_dir="/r", engine_dir="/e", data_dir="/d", model_path=None, adapter_path=None)
SUMMARY: dict[str, Any] = {
    "rows": 1003,
    "broken_rows": [{"dataset": "en", "row": 3, "reason": "no output"}],
    "placeholders_left": {"name": {"rows": 1, "first": ["zh row 9"]}},
    "end_in_the_text": {"token": "</s>", "rows": 0, "first": []},
    "without_labels": {"rows": 0, "first": []},
    "cut_to_cutoff_len": {"rows": 1007, "first": [f"zh row {n}" for n in (7, 31, 40, 41, 50)], "tokens": 48210},
    "tokens_dropped_at_the_end": 0,
}
ABOUT: dict[str, Any] = {
    "schema": 2,
    "key": "4f0c6e1a9b2d7788" * 4,
    "made_from": {},
    "examples": 1002,
    "tokens": 75150,
    "label_tokens": 30060,
    "longest": 256,
    "packing": "exact",
    "packs": 301,
    "padding": {"without": 0.384, "with": 0.0248},
    "lengths": {"width": 8, "counts": [0, 90, 241, 180, 121, 96, 70, 52, 44, 30, 25, 14, 9, 8, 6, 4, 12]},
    "summary": SUMMARY,
    "files": {"ids.npy": "aa", "labels.npy": "bb"},
}
SAMPLE = Shown(
    place="zh row 1",
    pieces=[("<s>Human: 一加一\nAssistant:", False), ("是二\x1b[2J\x9b", True), ("</s>", True)],
    tokens=9,
    label_tokens=4,
)


def made(was_there: bool = False, **about: Any) -> Made:
    recipe = Recipe.model_validate(
        {
            "name": "small",
            "cluster": {"device": "cpu", "devices_per_node": 2},
            "launch": {"backend": "local"},
            "model": {"init": {"model_type": "llama"}, "template": "default@0.9.5"},
            "data": {"datasets": ["en", "zh"], "cutoff_len": 256, "packing": about.get("packing", "exact")},
            "train": {"epochs": 2, "micro_batch": 4},
        }
    )
    return Made(
        words=("small.yaml", "--set", "train.seed=1; x"),
        plan=make_plan(recipe, [Node(name="localhost")], run_id="small", paths=PATHS),
        prepared=Prepared(folder=Path("/cache/prepared/4f0c6e1a9b2d7788"), told=ABOUT | about),
        was_there=was_there,
        seconds=3.14,
        samples=(SAMPLE,),
    )


def printed(monkeypatch: pytest.MonkeyPatch, what: Made, **terminal: Any) -> str:
    out = Console(file=io.StringIO(), width=100, highlight=False, soft_wrap=True, **terminal)
    monkeypatch.setattr("llmctl.cli.console.console", lambda: out)
    prepare_shown.show(what)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("packed", made()),
        ("unpacked", made(was_there=True, packing="none", packs=None, padding={"without": 0.384, "with": None})),
    ],
)
def test_without_colour_it_is_the_golden_one(name: str, what: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, what) == (GOLDEN / f"prepare-{name}.txt").read_text(encoding="utf-8")


def test_with_colour_the_loss_is_green_and_without_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = printed(monkeypatch, made(), force_terminal=True, color_system="standard")
    assert "\x1b[1;32m是二\\x1b[2J\\x9b" in text
    assert "⟦" not in text
    plain = printed(monkeypatch, made(), force_terminal=True, color_system="standard", no_color=True)
    assert "⟦是二\\x1b[2J\\x9b</s>⟧" in plain


def test_machines_get_the_same_numbers_and_the_text_as_it_is() -> None:
    told = json.loads(json.dumps(prepare_shown.as_plain(made())))
    assert (told["schema"], told["steps"], told["packs"], told["was_there"]) == (1, 76, 301, False)
    assert told["saved"] == pytest.approx(1 - (1 - 0.384) / (1 - 0.0248))
    assert told["samples"][0]["pieces"][1] == {"text": "是二\x1b[2J\x9b", "loss": True}


@pytest.mark.parametrize("count", [1, 12, 13, 100])
def test_a_histogram_keeps_every_example(count: int) -> None:
    lines = prepare_shown.histogram({"width": 8, "counts": [*range(1, count), 1000]})[1:]
    assert len(lines) <= prepare_shown.BARS
    assert sum(int(line.split()[1].replace(",", "")) for line in lines) == sum(range(1, count)) + 1000
    assert max(line.count("#") for line in lines) == prepare_shown.WIDE


def test_progress_says_of_what_and_no_total_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "EVERY", 0.0)
    with prepare.Bar() as bar:
        bar.rows(2560, None)
        bar.rows(2560, 60_000)
    assert capsys.readouterr().err == "tokenising: 2,560 rows\ntokenising: 2,560 of 60,000 rows\n"
    out = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    monkeypatch.setattr("llmctl.cli.console.console", lambda *, stderr: out)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with prepare.Bar() as bar:
        bar.rows(0, None)
        bar.rows(2560, None)
    assert isinstance(out.file, io.StringIO)
    shown = out.file.getvalue()
    assert "2,560 rows" in shown
    assert "?" not in shown.replace("?25", "")  # how a terminal hides its cursor
