"""The files of a report: which ones are wanted, where they go, and writing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmctl_reports import document, pictures, tables
from llmctl_reports.page import page

from llmctl.errors import UsageError
from llmctl.workflows.report import Report

FILES = ("html", "md", "json", "csv")
"""What is written unless the user says otherwise: all that needs no drawing library."""
FORMATS = (*FILES, "png", "summary")
LANGUAGES = ("en", "zh")
ENDINGS = {"html": ".html", "md": ".md", "json": ".json", "csv": ".csv", "summary": ".md"}
"""Of formats that can be one file."""


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
    """Write the files and give their paths, the most readable first. `output` is a folder; with one format a file,
    when its name ends as that format does. Raises UsageError when it cannot be written."""
    drawn = pictures.pictures(report.run, report.comparison) if "png" in formats else {}
    files: dict[str, bytes] = {}
    for lang in languages:
        ending = "" if lang == "en" else f"_{lang}"
        content = document.blocks(report.run, report.comparison, lang, differences=report.differences)
        title = report.heading(lang)
        if "html" in formats:
            files[f"report{ending}.html"] = page(title, content, lang).encode()
        if "md" in formats:
            files[f"report{ending}.md"] = document.markdown(title, content, drawn.keys()).encode()
        if "summary" in formats:
            files[f"summary{ending}.md"] = report.summary(lang).encode()
    if "json" in formats:
        files["report.json"] = report.json.encode()
    if "csv" in formats:
        files["points.csv"] = tables.points_csv(report.run, report.comparison).encode()
    files |= {f"{name}.png": data for name, data in drawn.items()}
    return write_files(files, formats=formats, folder=report.folder, output=output)


def write_files(files: Mapping[str, bytes], *, formats: Sequence[str], folder: Path, output: Path | None) -> list[Path]:
    """Write `files` (name -> content) into `output`, without it into `folder`; the paths. One file is `output` itself
    when the name ends as the format does. Raises UsageError."""
    single = output if output and _is_file(output, formats) else None
    if single and len(files) > 1:
        raise UsageError("one file cannot hold two languages", where="--lang", hint="give a folder: -o FOLDER")
    folder = output or folder
    written = {single or folder / name: data for name, data in files.items()}
    try:
        for path, data in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as error:
        in_the_way = folder if folder.is_file() else None
        raise UsageError(
            "the report cannot be written",
            where=str(error.filename or folder),
            why=f"{in_the_way} is a file, and {', '.join(formats)} go into a folder"
            if in_the_way
            else error.strerror or str(error),
            hint="give another folder: -o FOLDER",
        ) from None
    return list(written)


def _is_file(output: Path, formats: Sequence[str]) -> bool:
    return len(formats) == 1 and output.suffix == ENDINGS.get(formats[0]) and not output.is_dir()


def _chosen(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"unknown value {name!r}", where=option, hint=f"give some of {','.join(known)}")
    return names
