"""The story of `llmctl report`: find the logs, compare them, write tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from llmctl_reports import document, pictures, tables, words
from llmctl_reports.as_json import as_json
from llmctl_reports.errors import ReportError
from llmctl_reports.explaining import explain
from llmctl_reports.page import page
from llmctl_reports.profiles import PROFILES, Verdict
from llmctl_reports.readers import IN_FOLDER, read_log
from llmctl_reports.sparkline import sparkline
from llmctl_reports.table_check import Slip, slips, table_rows
from llmctl_reports.values import Restart, RunLog
from llmctl_reports.verdict import Comparison, compare

from llmctl.errors import ExitCode, UsageError
from llmctl.run.attempts import Attempt, read_attempts
from llmctl.run.differences import differences
from llmctl.run.folder import RunFolder
from llmctl.run.index import find_run
from llmctl.run.states import ENDED, State
from llmctl.workflows.differing import told_by

FILES = ("html", "md", "json", "csv")
"""What is written unless the user says otherwise: all that needs no drawing library."""
FORMATS = (*FILES, "png", "summary")
LANGUAGES = ("en", "zh")
EXIT_CODES = {
    Verdict.PASS: ExitCode.OK,
    Verdict.FAIL: ExitCode.FAILED,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}
UNFINISHED = frozenset(State) - ENDED


@dataclass(frozen=True)
class Report:
    """A run's log and, if asked for, its comparison."""

    run: RunLog
    comparison: Comparison | None
    folder: Path
    """Where its files go unless the user says otherwise."""
    title: str
    differences: tuple[tuple[str, str, str], ...] = ()
    """(name, run, reference) of what two runs tell of themselves, the most suspicious first."""
    suggested: str | None = None
    """The reference that the run's recipe names, when it was not compared with anything."""

    @property
    def exit_code(self) -> ExitCode:
        return EXIT_CODES[self.comparison.verdict] if self.comparison else ExitCode.OK

    @property
    def json(self) -> str:
        """The documented JSON."""
        value = as_json([self.run], [self.comparison] if self.comparison else [])
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @property
    def curve(self) -> str:
        """The losses as one line for a terminal."""
        return sparkline(self.run.points.loss)

    @property
    def explained(self) -> list[str]:
        """What the readers made of the logs."""
        return [
            line for log in (self.run, self.comparison and self.comparison.reference) if log for line in explain(log)
        ]

    def heading(self, lang: str) -> str:
        """The title of a page."""
        return f"{words.WORDS[lang]['title']}: {self.title}"

    def summary(self, lang: str) -> str:
        """Short Markdown for the page of a build."""
        return document.summary(self.heading(lang), self.run, self.comparison, lang)

    @property
    def verdict(self) -> str:
        """One line, empty without a comparison."""
        return words.verdict_line(self.comparison) if self.comparison else ""

    def tables(self, lang: str) -> list[tables.Table]:
        """Results and throughput."""
        reference = self.comparison.reference if self.comparison else None
        return [tables.results_table(self.run, reference, lang), tables.speed_table(self.run, reference, lang)]

    def errors(self, lang: str) -> list[str]:
        """Absolute and relative error, bias, and what was aligned; empty without a comparison."""
        if self.comparison is None:
            return []
        return [
            *tables.error_lines(self.comparison, lang),
            words.bias_line(self.comparison, lang),
            words.noise_line(self.comparison, lang),
            words.alignment_line(self.comparison, lang),
        ]


def make_report(
    given: str | None,
    reference: str | None,
    runs: Path | None,
    *,
    profile: str | None = None,
    noise: Sequence[str] = (),
    format_in: str | None = None,
) -> Report:
    """Read and compare. `given`, `reference` and `noise` (further runs of the reference) are a run's id, its folder, or
    a log file; without `given` the newest run; without `profile` that of the run's recipe, or seed. `format_in` names
    the format of the run's log. Raises UsageError for what cannot be found or read."""
    source, folder = _find(given, runs)
    other = _find(reference, runs)[0] if reference is not None else None
    if noise and other is None:
        raise UsageError("there is no reference to know the noise of", where="--noise", hint="--compare REF")
    try:
        run = _read(source, format_in)
        profile, limits = _judged(source, profile)
        others = [_read(_find(each, runs)[0]) for each in noise]
        comparison = (
            compare(run, _read(other), profile=profile, limits=limits, others=others) if other is not None else None
        )
    except ReportError as error:
        raise UsageError(error.what, where=error.where, why=error.why, hint=error.hint) from None
    title = source.resolve().name if source.is_dir() else source.stem
    differ = _differences(source, other) if other is not None else ()
    return Report(run, comparison, folder, title, differ, None if other else _reference_of(source))


def check_table(path: Path, per_device: float | None) -> tuple[int, list[Slip]]:
    """How many rows the throughput tables of a Markdown file have, and those that do not add up. Raises UsageError when
    there is no such file or table."""
    try:
        rows = table_rows(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the file cannot be read", where=str(path), why=str(error)) from None
    except ReportError as error:
        raise UsageError(error.what, where=str(path), why=error.why, hint=error.hint) from None
    return len(rows), slips(rows, per_device)


def chosen_formats(text: str, output: Path | None) -> tuple[str, ...]:
    """The formats of `--format`, or of the ending of `-o FILE`, or all but pictures and summary. Raises UsageError
    for an unknown one."""
    if not text:
        ending = output.suffix.lstrip(".") if output and not output.is_dir() else ""
        return (ending,) if ending in FILES else FILES
    return _chosen("--format", text, FORMATS)


def chosen_languages(text: str) -> tuple[str, ...]:
    """The languages of `--lang`. Raises UsageError for an unknown one."""
    return _chosen("--lang", text, LANGUAGES)


def write_report(
    report: Report, *, formats: Sequence[str], languages: Sequence[str], output: Path | None
) -> list[Path]:
    """Write the files and give their paths, the most readable first. `output` is a folder, or a file when its name
    ends in the one format that is asked for. Raises UsageError when it cannot be written."""
    single = output if output and [output.suffix.lstrip(".")] == list(formats) and not output.is_dir() else None
    if single and len(languages) > 1 and single.suffix in (".md", ".html"):
        raise UsageError("one file cannot hold two languages", where="--lang", hint="give a folder: -o FOLDER")
    folder = single.parent if single else output or report.folder
    drawn = pictures.pictures(report.run, report.comparison) if "png" in formats else {}
    files: dict[Path, bytes] = {}
    for lang in languages:
        ending = "" if lang == "en" else f"_{lang}"
        content = document.blocks(report.run, report.comparison, lang, differences=report.differences)
        title = report.heading(lang)
        if "html" in formats:
            files[single or folder / f"report{ending}.html"] = page(title, content, lang).encode()
        if "md" in formats:
            files[single or folder / f"report{ending}.md"] = document.markdown(title, content, drawn.keys()).encode()
        if "summary" in formats:
            files[folder / f"summary{ending}.md"] = report.summary(lang).encode()
    if "json" in formats:
        files[single or folder / "report.json"] = report.json.encode()
    if "csv" in formats:
        files[single or folder / "points.csv"] = tables.points_csv(report.run, report.comparison).encode()
    files |= {folder / f"{name}.png": data for name, data in drawn.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            path.write_bytes(data)
    except OSError as error:
        raise UsageError(
            "the report cannot be written",
            where=str(error.filename or folder),
            why=error.strerror or str(error),
            hint="give another folder: -o FOLDER",
        ) from None
    return list(files)


def _read(source: Path, format_in: str | None = None) -> RunLog:
    manifest = RunFolder(source).read_manifest() if _is_run(source) else {}
    if manifest.get("state") in UNFINISHED and not any((source / name).is_file() for name in IN_FOLDER):
        raise ReportError(
            "nothing of this run is here yet",
            where=str(source),
            why=f"it is {manifest['state']}; its records are brought here when it has ended",
            hint=f"llmctl status {source.name}",
        )
    told = tuple(f"{finding['code']}: {finding['title']}" for finding in manifest.get("allowed_findings", ()))
    return replace(read_log(source, format_in), allowed_findings=told, restarts=_restarts(read_attempts(manifest)))


def _restarts(attempts: Sequence[Attempt]) -> tuple[Restart, ...]:
    """Every attempt but the first, with what ended the one before."""
    return tuple(
        Restart(
            step=before.last_step,
            from_step=after.from_step or 0,
            reason=before.reason.replace("_", " ") if before.reason else "resumed by hand",
            node=before.node,
        )
        for before, after in pairwise(attempts)
    )


def _differences(source: Path, other: Path) -> tuple[tuple[str, str, str], ...]:
    """What both tell of themselves, where both are folders of runs."""
    folders = [RunFolder(each) for each in (source, other) if _is_run(each)]
    if len(folders) < 2 or not all(folder.recipe.is_file() for folder in folders):
        return ()
    found = differences(*map(told_by, folders))
    return tuple((each.name, each.left or "-", each.right or "-") for each in found)


def _is_run(source: Path) -> bool:
    return (source / "manifest.json").is_file()


def _find(given: str | None, runs: Path | None) -> tuple[Path, Path]:
    """The log or run folder, and where a report on it goes."""
    if given is not None and Path(given).exists():
        path = Path(given)
        if path.is_dir():
            return path, path / "report"
        return path, Path(f"report-{path.stem}")
    try:
        folder = find_run(given, runs or Path("runs"))
    except UsageError:
        if given is None or not ("/" in given or Path(given).suffix):
            raise
        hint = "give a run (llmctl ps), a run's folder or a log file"
        raise UsageError("no such file", where=given, hint=hint) from None
    return folder.root, folder.report


def _judged(source: Path, profile: str | None) -> tuple[str, dict[str, float]]:
    """The profile and the limits of its gates that the run's recipe sets."""
    if profile is not None and profile not in PROFILES:
        raise UsageError(f"no profile {profile!r}", where="--profile", hint=f"there are {', '.join(PROFILES)}")
    told = RunFolder(source).read_manifest().get("judged", {}) if _is_run(source) else {}
    own = told.get("profile", "seed")
    return profile or own, told.get("gates", {}) if profile in (None, own) else {}


def _reference_of(source: Path) -> str | None:
    if not _is_run(source):
        return None
    named = RunFolder(source).read_manifest().get("reference")
    return named if isinstance(named, str) else None


def _chosen(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"unknown value {name!r}", where=option, hint=f"give some of {','.join(known)}")
    return names
