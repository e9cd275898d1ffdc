"""Blocks, Markdown, the summary for a build, and JSON have their documented form."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from llmctl_reports.as_json import as_json
from llmctl_reports.chinese import translated
from llmctl_reports.curves import Chart, charts
from llmctl_reports.document import Heading, Line, blocks, comparison_lines, markdown, summary
from llmctl_reports.profiles import PROFILES
from llmctl_reports.sparkline import BARS, sparkline
from llmctl_reports.tables import Table, escaped, points_csv
from llmctl_reports.values import (
    BROKEN,
    CONFLICT,
    DUPLICATE,
    NON_FINITE,
    NOT_LOGGED,
    SKIPPED,
    SUPERSEDED,
    Final,
    Meta,
    RunLog,
)
from llmctl_reports.verdict import compare
from llmctl_reports.words import FIGURES, WORDS

from tests.reports.made_points import HOSTILE, made_log, points_of

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/report-schema.json").read_text(encoding="utf-8"))


def test_both_languages_have_the_same_words() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    assert FIGURES["en"].keys() == FIGURES["zh"].keys()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_chinese_report_is_chinese(profile: str) -> None:
    more = dict.fromkeys((NON_FINITE, SKIPPED, SUPERSEDED, DUPLICATE, CONFLICT, BROKEN, NOT_LOGGED), 1)
    for factor, batch in ((1.0, 8), (0.01, 4)):
        run, reference = made_log(400, dropped=more), made_log(200, factor, meta=Meta(global_batch=batch))
        found = compare(run, reference, profile=profile)
        names = [each for check in found.checks for each in (check.name, check.source) if each != "llmctl"]
        for text in (*names, *found.alignment.notes, *more):
            assert re.search("[一-鿿]", translated(text, "zh")), text
    told = blocks(run, found, "zh")[0]
    assert isinstance(told, Line)
    assert not re.search(r"[a-z]{3,} [a-z]{2,}", told.text)


def test_an_unknown_text_stays_as_it_is() -> None:
    assert translated("run: something new", "zh") == "本次训练：something new"
    assert translated("repeated line", "en") == "repeated line"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_was_compared_stands_above_all_figures(lang: str) -> None:
    found = compare(made_log(300, meta=Meta(seed=1)), made_log(300, 1.01, meta=Meta(seed=2)))
    made = blocks(found.run, found, lang, differences=[("cann", "8.0", "8.2")])
    assert isinstance(made[0], Line)
    assert made[0].verdict == "PASS"
    assert made[1] == Heading(WORDS[lang]["alignment"])
    tables = [block for block in made if isinstance(block, Table)]
    assert [cell for row in tables[0].rows for cell in row if HOSTILE in cell]
    assert tables[1].rows[0][2:] == ("±2 %", translated("ModelZoo's reports: the mean loss within 2 %", lang), "PASS")
    assert tables[2].rows == (("cann", "8.0", "8.2"), ("seed", "1", "2"))
    assert [block.name for block in made if isinstance(block, Chart)] == ["loss", "errors", "seconds"]


def test_the_table_of_figures_has_no_empty_rows() -> None:
    few = compare(made_log(5), made_log(5))
    assert all(block.rows for block in blocks(few.run, few, "en") if isinstance(block, Table))
    assert Heading("All figures") not in blocks(few.run, few, "en")
    enough = compare(made_log(20, 1.1), made_log(20))
    rows = dict([block for block in blocks(enough.run, enough, "en") if isinstance(block, Table)][3].rows)
    assert rows["relative error of the mean loss"] == rows["mean of the relative errors"] == "10 %"
    assert rows["points with a relative error beyond 5 %"] == "20"


@pytest.mark.parametrize(("logged", "told"), [(9.0, True), (9.9, False), (None, False)])
def test_a_trainer_that_counts_more_than_its_steps_is_told(logged: float | None, told: bool) -> None:
    run = made_log(20, final=Final(train_steps_per_second=logged))
    lines = [block.text for block in blocks(run, None, "en") if isinstance(block, Line)]
    assert (
        "run: the trainer's 9 steps/s and the 10 steps/s of its step times are more than 2 % apart." in lines
    ) is told


def test_too_few_points_give_no_errors_in_any_form() -> None:
    few, enough = compare(made_log(5), made_log(30)), compare(made_log(20), made_log(30))
    assert [chart.name for chart in charts(few.run, few, "en")] == ["loss", "seconds"]
    assert points_csv(few.run, few).splitlines()[0] == "step,loss,reference_loss"
    assert points_csv(enough.run, enough).splitlines()[0] == "step,loss,reference_loss,absolute_error,relative_error"
    assert comparison_lines(few, "en") == []
    assert [line.split(":")[0] for line in comparison_lines(enough, "en")] == [
        "Absolute error",
        "Relative error",
        "Bias of the mean loss",
        "Relative error of the mean over the last tenth",
    ]


def test_points_say_where_they_lie_on_their_axis() -> None:
    found = compare(made_log(40, meta=Meta(global_batch=8)), made_log(40, meta=Meta(global_batch=16)))
    rows = points_csv(found.run, found).splitlines()
    assert rows[0].startswith("step,samples,loss,")
    assert rows[1].startswith("2,16,")


def test_gradient_norms_are_told_where_both_have_them() -> None:
    logs = [made_log(20), made_log(20)]
    logs = [
        replace(log, points=replace(log.points, grad_norm=np.full(20, norm)))
        for log, norm in zip(logs, (1.1, 1.0), strict=True)
    ]
    found = compare(*logs)
    assert comparison_lines(found, "en")[-1] == "Mean relative error of the gradient norm: 10 %"
    assert comparison_lines(found, "zh")[-1] == "梯度范数的平均相对误差：10 %"


def test_markdown_escapes_what_would_break_it() -> None:
    text = markdown("a_b *c*", blocks(made_log(20), None, "en"))
    assert text.startswith(r"# a_b \*c\*")
    assert r"alert('1')\</script>\|日志.log" in text
    assert ".png" not in text
    rows = [line for line in text.splitlines() if line.startswith("| run: ")]
    assert len(re.split(r"(?<!\\)\|", rows[0])) == 9
    assert (
        escaped("![x](http://a/b.png)\n# no _em_ but my_run &lt;")
        == r"!\[x\](http://a/b.png) # no \_em\_ but my_run \&lt;"
    )


def test_markdown_shows_the_pictures_that_are_there() -> None:
    found = compare(made_log(20), made_log(20))
    text = markdown("Report", blocks(found.run, found, "en"), ("loss",))
    assert re.findall(r"!\[.*?\]\((.*?)\)", text) == ["loss.png"]
    headings = re.findall("^## (.*)", text, re.MULTILINE)
    assert "Loss" in headings
    assert "Relative error" not in headings


def test_the_summary_is_short_and_has_the_verdict_the_checks_and_the_tables() -> None:
    found = compare(made_log(20), made_log(20, 1.5))
    text = summary("Report", found.run, found, "en")
    assert "**FAIL: bias of the mean loss -33.3 %" in text
    assert len(re.findall(r"^\| ---", text, re.MULTILINE)) == 4
    assert "##" not in text
    assert ".png" not in text


def test_a_sparkline_is_the_curve_in_eight_heights() -> None:
    assert sparkline(np.linspace(8, 1, 8)) == f"8 {BARS[::-1]} 1"
    assert sparkline(np.array([2.0])) == f"2 {BARS[0]} 2"
    assert len(sparkline(np.linspace(8, 1, 1000), 30).split()[1]) == 30


@pytest.mark.parametrize(
    ("run", "reference"),
    [
        (made_log(20), made_log(20, 1.5)),
        (made_log(3), made_log(30)),
        (
            made_log(20, dropped={NON_FINITE: 2}, meta=Meta(global_batch=4)),
            made_log(20, 0.001, meta=Meta(global_batch=8)),
        ),
    ],
)
def test_json_holds_to_the_documented_schema(run: RunLog, reference: RunLog) -> None:
    value = as_json([run], [compare(run, reference)])
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(json.dumps(value, allow_nan=False)), SCHEMA)
    jsonschema.validate(as_json([run], []), SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value | {"schema": 2}, SCHEMA)


def test_no_common_point_gives_nulls_and_a_chart_still() -> None:
    late = RunLog(source="b", format="b", points=points_of([(99, 1.0)]))
    found = compare(made_log(20), late)
    value = as_json([found.run], [found])
    jsonschema.validate(value, SCHEMA)
    assert value["comparisons"][0]["abs_error"] == {"max": None, "mean": None, "max_step": None}
    drawn = [block.name for block in blocks(found.run, found, "en") if isinstance(block, Chart)]
    assert drawn == ["loss", "seconds"]
