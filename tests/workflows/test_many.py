"""A report on many runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import pytest

from llmctl.errors import ExitCode, UsageError
from llmctl.workflows.many import ManyReport, report_many
from llmctl.workflows.report_files import write_report
from llmctl.workflows.report_sources import Asked

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/report-schema.json").read_text(encoding="utf-8"))


def log(path: Path, factor: float = 1.0, count: int = 20) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            f" iteration {n}/ 99 | elapsed time per iteration (ms): 500.0 | global batch size: 8 "
            f"| lm loss: {factor * (2 + 1 / n):.6E} |\n"
            for n in range(1, count + 1)
        )
    )
    return str(path)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def rows(made: ManyReport) -> list[tuple[str, str]]:
    """First and last cell of each row."""
    return [(row[0], row[-1]) for row in made.content("en")[-1].rows]  # type: ignore[union-attr]


def test_of_several_verdicts_the_worst_is_the_exit_code(tmp_path: Path) -> None:
    reference = log(tmp_path / "ref.log")
    good, bad = log(tmp_path / "good.log", 1.0001), log(tmp_path / "bad.log", 1.5)
    few = log(tmp_path / "few.log", count=5)
    asked = Asked(reference=reference)
    made = report_many([good, few, bad], asked)
    assert rows(made) == [
        ("good.log", "PASS"),
        ("few.log", "INCONCLUSIVE"),
        ("bad.log", "FAIL"),
        ("Reference: ref.log", "-"),
    ]
    assert made.exit_code is ExitCode.FAILED
    assert report_many([good, few], asked).exit_code is ExitCode.INCONCLUSIVE
    assert report_many([good, good], asked).exit_code is ExitCode.OK
    assert report_many([good, bad], Asked()).exit_code is ExitCode.OK
    jsonschema.validate(json.loads(made.json), SCHEMA)
    assert made.shown("en")[-1] == "1 PASS, 1 FAIL, 1 INCONCLUSIVE"


def test_a_run_that_cannot_be_read_loses_no_other(tmp_path: Path) -> None:
    (tmp_path / "empty.log").write_text("hello\n")
    made = report_many(
        ["gone.log", log(tmp_path / "good.log"), str(tmp_path / "empty.log"), "nobody"],
        Asked(reference=log(tmp_path / "ref.log"), runs=tmp_path / "runs"),
    )
    assert made.exit_code is ExitCode.USAGE
    table = next(part for part in made.shown("en") if not isinstance(part, str))
    assert [(row[0], row[-1]) for row in table.rows] == [
        ("gone.log", "not read: no such file"),
        ("good.log", "PASS"),
        (str(tmp_path / "empty.log"), "not read: no losses in this file"),
        ("nobody", "not read: there is no run yet"),
        ("Reference: ref.log", "-"),
    ]
    value = json.loads(made.json)
    jsonschema.validate(value, SCHEMA)
    assert [each["name"] for each in value["unread"]] == ["gone.log", str(tmp_path / "empty.log"), "nobody"]
    found = list(csv.DictReader(made.spreadsheet[1].splitlines()))
    assert [(row["run"], row["verdict"], row["problem"]) for row in found] == [
        ("gone.log", "", "no such file"),
        ("good.log", "PASS", ""),
        (str(tmp_path / "empty.log"), "", "no losses in this file"),
        ("nobody", "", "there is no run yet"),
    ]
    assert float(found[1]["mean_rel_error"]) == 0.0
    assert "gone.log: no such file" in made.summary("en")
    assert "无法读取" in made.summary("zh")


def test_without_any_run_that_can_be_read_there_is_still_a_table(tmp_path: Path) -> None:
    made = report_many(["a.log", "b.log"], Asked(reference=log(tmp_path / "ref.log")))
    assert made.exit_code is ExitCode.USAGE
    assert "| a.log | - |" in made.summary("en")
    with pytest.raises(UsageError, match="no such file"):
        report_many([log(tmp_path / "good.log")] * 2, Asked(reference="gone.log"))


def test_what_differs_from_the_reference_is_named(tmp_path: Path) -> None:
    for name, rate in (("a", 1e-4), ("b", 2e-4), ("ref", 1e-4)):
        log(tmp_path / name / "train.log")
        (tmp_path / name / "args.json").write_text(json.dumps({"learning_rate": rate, "seed": 1}))
    made = report_many(["a/train.log", "b/train.log"], Asked(reference="ref/train.log"))
    assert "b/train.log: recipe.train.learning_rate" in made.summary("en")
    assert "a/train.log: recipe" not in made.summary("en")
    value = json.loads(made.json)
    jsonschema.validate(value, SCHEMA)
    assert [each["differences"] for each in value["comparisons"]] == [
        [],
        [{"name": "recipe.train.learning_rate", "run": "0.0002", "reference": "0.0001"}],
    ]


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    one, two = log(tmp_path / "a/train.log"), log(tmp_path / "b/train.log")
    assert [name for name, _ in rows(report_many([one, two], Asked()))] == [one, two]


def test_files_of_many_runs(tmp_path: Path) -> None:
    made = report_many([log(tmp_path / "a.log"), log(tmp_path / "b.log")], Asked())
    paths = write_report(made, formats=("html", "md", "json", "csv"), languages=("en", "zh"), output=None)
    assert [str(path) for path in paths] == [
        f"report-runs/runs{ending}" for ending in (".html", ".md", "_zh.html", "_zh.md", ".json", ".csv")
    ]
    assert "| a.log | - |" in paths[1].read_text(encoding="utf-8")
    assert "<td>a.log</td>" in paths[0].read_text(encoding="utf-8")
    assert write_report(made, formats=("md",), languages=("en",), output=Path("zoo/README.md")) == [
        Path("zoo/README.md")
    ]
    with pytest.raises(UsageError, match="png draws one run"):
        write_report(made, formats=("png",), languages=("en",), output=None)
