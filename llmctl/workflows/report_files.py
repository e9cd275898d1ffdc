"""The files of a report: which ones are wanted, where they go, and writing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from llmctl_reports import document
from llmctl_reports.document import Block
from llmctl_reports.page import page

from llmctl.errors import UsageError

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


class Made(Protocol):
    """A report, on one run or on many."""

    @property
    def folder(self) -> Path:
        """Where its files go unless the user says otherwise."""

    @property
    def name(self) -> str:
        """Of its pages, without ending."""

    @property
    def json(self) -> str: ...

    @property
    def spreadsheet(self) -> tuple[str, str]:
        """Name and text of the CSV file."""

    def heading(self, lang: str) -> str: ...

    def content(self, lang: str) -> list[Block]: ...

    def summary(self, lang: str) -> str: ...

    def pictures(self) -> dict[str, bytes]:
        """PNG files by name; UsageError where there can be none."""


def write_report(made: Made, *, formats: Sequence[str], languages: Sequence[str], output: Path | None) -> list[Path]:
    """Write the files and give their paths, the most readable first. `output` is a folder; with one format a file,
    when its name ends as that format does. Raises UsageError when it cannot be written."""
    drawn = made.pictures() if "png" in formats else {}
    files: dict[str, str] = {}
    for lang in languages:
        ending = "" if lang == "en" else f"_{lang}"
        title, content = made.heading(lang), made.content(lang)
        if "html" in formats:
            files[f"{made.name}{ending}.html"] = page(title, content, lang)
        if "md" in formats:
            files[f"{made.name}{ending}.md"] = document.markdown(title, content, drawn.keys())
        if "summary" in formats:
            files[f"summary{ending}.md"] = made.summary(lang)
    if "json" in formats:
        files[f"{made.name}.json"] = made.json
    if "csv" in formats:
        name, text = made.spreadsheet
        files[name] = text
    content_of = {name: text.encode() for name, text in files.items()}
    content_of |= {f"{name}.png": data for name, data in drawn.items()}
    return _write(_placed(content_of, formats, made.folder, output))


def _placed(files: Mapping[str, bytes], formats: Sequence[str], folder: Path, output: Path | None) -> dict[Path, bytes]:
    if output is None or not _is_file(output, formats):
        folder = output or folder
        if folder.is_file():
            why = f"it is a file, and {', '.join(formats)} go into a folder"
            raise UsageError("the report cannot be written", where=str(folder), why=why, hint="-o FOLDER")
        return {folder / name: data for name, data in files.items()}
    if len(files) > 1:
        raise UsageError("one file cannot hold two languages", where="--lang", hint="give a folder: -o FOLDER")
    return dict.fromkeys([output], *files.values())


def _write(files: Mapping[Path, bytes]) -> list[Path]:
    for path, data in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise UsageError(
                "the report cannot be written",
                where=str(error.filename or path),
                why=error.strerror or str(error),
                hint="give another folder: -o FOLDER",
            ) from None
    return list(files)


def _is_file(output: Path, formats: Sequence[str]) -> bool:
    return len(formats) == 1 and output.suffix == ENDINGS.get(formats[0]) and not output.is_dir()


def _chosen(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"unknown value {name!r}", where=option, hint=f"give some of {','.join(known)}")
    return names
