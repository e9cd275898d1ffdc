"""The report as blocks, and the blocks as Markdown or as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmctl_reports import tables
from llmctl_reports.compare import Report
from llmctl_reports.tables import Table
from llmctl_reports.words import word


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Lines:
    """Sentences, each on a line of its own; `mood` colours a verdict."""

    texts: tuple[str, ...]
    mood: str = ""


@dataclass(frozen=True)
class Picture:
    name: str
    alt: str


Block = Heading | Lines | Table | Picture


def blocks(report: Report, language: str, pictures: Sequence[str]) -> list[Block]:
    """Everything a report holds, in order. `pictures` are the file names that there are."""
    found: list[Block] = [Heading(word("title", language), 1)]
    compared = report.comparison
    if compared is None:
        found.append(Lines((word("no_reference", language),)))
    else:
        found.append(Lines((verdict_line(report),), mood=str(compared.verdict)))
        found.append(Heading(word("alignment", language)))
        counted = word("common", language, common=compared.aligned.common, key=compared.aligned.key)
        found.append(Lines((counted, *compared.left.notes, *compared.right.notes)))
        found.append(tables.alignment(compared, language))
        differing = tables.settings(compared, language)
        if differing is not None:
            found += [Heading(word("settings", language)), differing]
    found += [Heading(word("results", language)), tables.results(report, language)]
    if compared is not None:
        found += [Heading(word("accuracy", language)), Lines(tuple(tables.errors(compared, language)))]
        found += [Heading(word("checks", language)), tables.gates(compared, language)]
    found += [
        Heading(word("throughput", language)),
        tables.speeds(report, language),
        Lines((word("speed_basis", language, basis=report.speed.basis),)),
        Heading(word("pictures", language)),
        *(Picture(name, name.removesuffix(".png")) for name in pictures),
    ]
    return found


def verdict_line(report: Report) -> str:
    """One line: the verdict and what decided it."""
    compared = report.comparison
    if compared is None:
        return ""
    deciding = [check for check in compared.checks if check.result is compared.verdict]
    worst = deciding[-1]
    value = "-" if worst.value is None else f"{worst.value:.6g}"
    if compared.verdict == "PASS":
        return f"PASS: {worst.name} {value}, limit {worst.limit:g}, over {compared.aligned.common} common points"
    return f"{compared.verdict}: " + "; ".join(
        f"{check.name} {'-' if check.value is None else f'{check.value:.6g}'}, limit {check.limit:g}"
        for check in deciding
    )


def as_markdown(found: Sequence[Block]) -> str:
    """Markdown; pictures as links to files beside it."""
    parts = []
    for block in found:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Lines):
            parts.append("  \n".join(block.texts))
        elif isinstance(block, Picture):
            parts.append(f"![{block.alt}]({block.name})")
        else:
            parts.append(table_markdown(block))
    return "\n\n".join(parts) + "\n"


def table_markdown(table: Table) -> str:
    """A table with padded cells."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (table.headings, *table.rows)]
    head, *rows = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([head, "|" + " --- |" * len(table.headings), *rows])


STYLE = """
:root{color-scheme:light dark}body{font:16px/1.55 system-ui,"Noto Sans CJK SC","Microsoft YaHei",sans-serif;
max-width:60rem;margin:2.5rem auto;padding:0 1.25rem;color:#1c2430;background:#fff}
h1{font-size:1.7rem;margin:0 0 1rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem;border-bottom:1px solid #d8dee6;
padding-bottom:.25rem}table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}th,td{text-align:left;padding:.4rem .7rem;border-bottom:1px solid #e3e8ee;overflow-wrap:anywhere}
th{background:#f4f6f9;font-weight:600}p{margin:.5rem 0}img{width:100%;height:auto;border:1px solid #e3e8ee;
border-radius:6px;margin:.5rem 0;background:#fff}.verdict{padding:.8rem 1rem;border-radius:6px;font-weight:600}
.PASS{background:#e3f4e6;color:#14532d}.FAIL{background:#fde7e6;color:#7f1d1d}
.INCONCLUSIVE{background:#fdf1d8;color:#713f12}
@media(prefers-color-scheme:dark){body{background:#14181e;color:#dde3ea}th{background:#1e242c}h2,th,td{border-color:#2c343e}}
"""


def as_html(found: Sequence[Block], pictures: Mapping[str, bytes], language: str) -> str:
    """One page with the pictures inside; nothing is loaded from elsewhere."""
    body = []
    for block in found:
        if isinstance(block, Heading):
            body.append(f"<h{block.level}>{html.escape(block.text)}</h{block.level}>")
        elif isinstance(block, Lines):
            kind = f' class="verdict {block.mood}"' if block.mood else ""
            body += [f"<p{kind}>{html.escape(text)}</p>" for text in block.texts]
        elif isinstance(block, Picture):
            data = base64.b64encode(pictures[block.name]).decode()
            body.append(f'<img alt="{html.escape(block.alt)}" src="data:image/png;base64,{data}">')
        else:
            body.append(_table_html(block))
    title = next((block.text for block in found if isinstance(block, Heading)), "")
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _table_html(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.headings)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
