"""Finding logs and writing files, without the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from llmctl.errors import ExitCode, UsageError
from llmctl.run.attempts import Attempt, Reason, opened_attempts
from llmctl.workflows.report import make_report
from llmctl.workflows.report_files import chosen_formats, chosen_languages, write_report
from llmctl.workflows.report_sources import Asked


def write_run(folder: Path, factor: float = 1.0, count: int = 20, **manifest: object) -> Path:
    """A run's folder with a manifest and the engine's records."""
    (folder / "output").mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    lines: list[dict[str, object]] = [{"record": "run", "device": "cpu", "global_batch": 8, "world_size": 1}]
    lines += [
        {"record": "step", "step": n, "loss": factor * (2 + 1 / n), "step_seconds": 0.1, "tokens": 100}
        for n in range(1, count + 1)
    ]
    (folder / "output/steps.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_the_newest_run_an_id_and_a_folder(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    old = write_run(runs / "old-20261121-090000-zzzz", 1.5)
    new = write_run(runs / "new-20261121-093000-aaaa", 1.0)
    os.utime(new / "manifest.json", (1, 1))  # the old one was asked about since
    assert make_report(None, Asked(runs=runs)).folder == new / "report"
    assert make_report("old", Asked(runs=runs)).folder == old / "report"
    assert make_report(str(old)).run.points.loss[0] == 4.5
    made = make_report("old", Asked(reference="new", runs=runs))
    assert made.exit_code is ExitCode.FAILED
    dotted = write_run(runs / "qwen2.5_7b-20261121-093000-kqzt")
    assert make_report(dotted.name, Asked(runs=runs)).folder == dotted / "report"
    with pytest.raises(UsageError, match="no run"):
        make_report("nobody", Asked(runs=runs))


def test_findings_that_were_allowed_are_told_in_the_report(tmp_path: Path) -> None:
    found = [{"code": "driver.version.differs", "title": "driver.version differs: 24.1 on node2"}]
    odd, good = write_run(tmp_path / "odd", allowed_findings=found), write_run(tmp_path / "good")
    made = make_report(str(good), Asked(reference=str(odd)))
    paths = write_report(made, formats=("md", "json"), languages=("en", "zh"), output=tmp_path / "out")
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths if path.suffix in (".md", ".json")}
    words = "driver.version.differs: driver.version differs: 24.1 on node2"
    assert f"reference, started in spite of: {words}" in texts["report.md"]
    assert f"启动时被放行的环境差异: {words}" in texts["report_zh.md"]
    assert json.loads(make_report(str(odd)).json)["runs"][0]["allowed_findings"] == [words]
    assert json.loads(texts["report.json"])["runs"][0]["allowed_findings"] == []


def test_without_compare_the_reference_of_the_recipe_is_only_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", reference="/somewhere/ref.log")
    made = make_report(str(folder))
    assert (made.suggested, made.comparison, made.exit_code) == ("/somewhere/ref.log", None, ExitCode.OK)
    assert made.shown("en")[-1] == (
        "not compared; the recipe names a reference: llmctl report --compare /somewhere/ref.log"
    )
    assert make_report(str(folder), Asked(reference=str(folder))).suggested is None


def test_files_of_two_languages_in_a_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "运行 'a'")
    made = make_report(str(folder), Asked(reference=str(folder)))
    usual = chosen_formats("", None)
    write_report(made, formats=usual, languages=("en", "zh"), output=None)
    assert {path.name for path in (folder / "report").iterdir()} == {
        *("report.md", "report_zh.md", "report.html", "report_zh.html", "report.json"),
        "points.csv",
    }
    assert "![" not in (folder / "report/report.md").read_text()
    write_report(made, formats=(*usual, "png", "summary"), languages=("en", "zh"), output=tmp_path / "all")
    assert {path.name for path in (tmp_path / "all").iterdir()} == {
        *(path.name for path in (folder / "report").iterdir()),
        *("loss.png", "errors.png", "summary.md", "summary_zh.md"),
    }
    assert "![Loss](loss.png)" in (tmp_path / "all/report.md").read_text()
    assert "训练报告" in (folder / "report/report_zh.html").read_text(encoding="utf-8")
    lines = (folder / "report/points.csv").read_text().splitlines()
    assert lines[:2] == ["step,loss,reference_loss,absolute_error,relative_error", "1,3.0,3.0,0.0,0.0"]


@pytest.mark.parametrize(
    ("name", "files"),
    [("x.html", {"x.html"}), ("x.json", {"x.json"}), ("x.csv", {"x.csv"}), ("x.md", {"x.md"})],
)
def test_one_file(tmp_path: Path, name: str, files: set[str]) -> None:
    made = make_report(str(write_run(tmp_path / "r")))
    output = tmp_path / "out" / name
    write_report(made, formats=chosen_formats("", output), languages=("en",), output=output)
    assert {path.name for path in output.parent.iterdir()} == files


@pytest.mark.parametrize(
    ("formats", "output", "files"),
    [
        (("md", "csv"), "out", {"out/report.md", "out/points.csv"}),
        (("html", "md"), "out.html", {"out.html/report.html", "out.html/report.md"}),
        (("summary",), "s.md", {"s.md"}),
        (("summary",), "s", {"s/summary.md"}),
        (("json",), "v1.2", {"v1.2/report.json"}),
        (("png",), "p.png", {"p.png/loss.png"}),
        (("md",), "there.md", {"there.md/report.md"}),
    ],
)
def test_a_folder_for_more_than_one_file(
    tmp_path: Path, formats: tuple[str, ...], output: str, files: set[str]
) -> None:
    made = make_report(str(write_run(tmp_path / "r")))
    (tmp_path / "there.md").mkdir()
    written = write_report(made, formats=formats, languages=("en",), output=Path(output))
    assert {str(path) for path in written} == files
    assert all(path.is_file() for path in written)


def test_mistakes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r")
    made = make_report(str(folder))
    with pytest.raises(UsageError, match="two languages"):
        write_report(made, formats=("md",), languages=("en", "zh"), output=tmp_path / "a.md")
    with pytest.raises(UsageError, match="cannot be written"):
        write_report(made, formats=("json",), languages=("en",), output=folder / "manifest.json/x.json")
    with pytest.raises(UsageError, match="cannot be written") as error:
        write_report(made, formats=("json", "md"), languages=("en",), output=folder / "manifest.json")
    assert error.value.why == "it is a file, and json, md go into a folder"
    with pytest.raises(UsageError, match="unknown value 'pdf'"):
        chosen_formats("md,pdf", None)
    with pytest.raises(UsageError, match="unknown value 'fr'"):
        chosen_languages("fr")
    for given in ("missing.log", "no/such"):
        with pytest.raises(UsageError, match="no such file"):
            make_report(given)
    (tmp_path / "empty.log").write_text("")
    with pytest.raises(UsageError, match="no losses") as error:
        make_report("empty.log")
    assert "Megatron" in error.value.why


def test_a_report_tells_step_and_reason_of_each_restart(tmp_path: Path) -> None:
    first = Attempt(
        number=1, started=1, nodes=("a", "b"), reason=Reason.NODE_LOST, node="b", lost=("b",), from_step=0, last_step=3
    )
    second = Attempt(number=2, started=2, nodes=("a", "c"), from_step=2, automatic=True)
    run = write_run(tmp_path / "run", attempts=opened_attempts([first], second))
    report = make_report(str(run))
    assert json.loads(report.json)["runs"][0]["restarts"] == [
        {"step": 3, "from_step": 2, "reason": "node lost", "node": "b"}
    ]
    write_report(report, formats=("md",), languages=("en", "zh"), output=tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "run, started again from step 2 after step 3: node lost (b)" in text
    assert "在第3步之后从第2步重新启动" in (tmp_path / "report" / "report_zh.md").read_text(encoding="utf-8")
