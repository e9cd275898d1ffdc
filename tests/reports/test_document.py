"""The page needs nothing but itself; Markdown and JSON have their documented form."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from llmctl_reports.as_json import as_json
from llmctl_reports.document import blocks, markdown, page
from llmctl_reports.pictures import error_picture, loss_picture, smoothed
from llmctl_reports.values import NON_FINITE, Meta, RunLog
from llmctl_reports.verdict import compare

from tests.reports.made_points import points_of

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/report-schema.json").read_text(encoding="utf-8"))
HOSTILE = "<script>alert('1')</script>|日志.log"


def log(count: int, factor: float = 1.0, **more: object) -> RunLog:
    points = points_of(((n, factor * (1 + 3 / n)) for n in range(1, count + 1)), seconds=[0.1] * count)
    return RunLog(source=HOSTILE, format="steps.jsonl", points=points, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_is_self_contained(lang: str) -> None:
    found = compare(log(300, meta=Meta(seed=1)), log(300, 1.01, meta=Meta(seed=2)))
    drawn = {"loss.png": loss_picture(found.run, found.reference), "errors.png": error_picture(found)}
    assert all(data.startswith(b"\x89PNG") for data in drawn.values())
    text = page("A & B", blocks(found.run, found, lang), drawn, lang)
    assert "<script" not in text
    assert "A &amp; B" in text
    assert set(re.findall(r'(?:src|href)="([^:"]+:)', text)) == {"data:"}
    assert not re.search(r"https?://|@import|url\(", text)
    assert text.count("data:image/png;base64,") == 2
    assert f'<html lang="{lang}">' in text
    assert 'class="verdict PASS"' in text


def test_markdown_escapes_what_would_break_a_table() -> None:
    text = markdown("Report", blocks(log(20), None, "en"))
    assert r"alert('1')</script>\|日志.log" in text
    assert "errors.png" not in text
    rows = [line for line in text.splitlines() if line.startswith("| run: ")]
    assert len(re.split(r"(?<!\\)\|", rows[0])) == 8


@pytest.mark.parametrize(
    ("run", "reference"),
    [
        (log(20), log(20, 1.5)),
        (log(3), log(30)),
        (log(20, dropped={NON_FINITE: 2}, meta=Meta(global_batch=4)), log(20, 0.001, meta=Meta(global_batch=8))),
    ],
)
def test_json_holds_to_the_documented_schema(run: RunLog, reference: RunLog) -> None:
    value = as_json([run], [compare(run, reference)])
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(json.dumps(value, allow_nan=False)), SCHEMA)
    jsonschema.validate(as_json([run], []), SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value | {"schema": 2}, SCHEMA)


def test_no_common_point_gives_nulls_and_pictures_still() -> None:
    late = RunLog(source="b", format="b", points=points_of([(99, 1.0)]))
    found = compare(log(20), late)
    value = as_json([found.run], [found])
    jsonschema.validate(value, SCHEMA)
    assert value["comparisons"][0]["abs_error"] == {"max": None, "mean": None, "max_step": None}
    assert error_picture(found).startswith(b"\x89PNG")


def test_a_moving_average_of_a_constant_is_the_constant() -> None:
    assert smoothed([2.5] * 50) == pytest.approx([2.5] * 50)
