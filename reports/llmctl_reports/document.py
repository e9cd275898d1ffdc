"""A report as blocks, and the blocks as Markdown or as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmctl_reports import words
from llmctl_reports.tables import Table, error_lines, markdown_table, results_table, speed_table
from llmctl_reports.throughput import WARM_UP, throughput
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison

STYLE = """
:root{color-scheme:light}
body{margin:0 auto;max-width:60rem;padding:2.5rem 1.25rem;color:#1f2733;background:#fff;
font:16px/1.6 system-ui,-apple-system,"Segoe UI","Noto Sans","Noto Sans CJK SC",
"PingFang SC","Microsoft YaHei",sans-serif}
h1{font-size:1.8rem;margin:0 0 .5rem}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem;padding-bottom:.3rem;border-bottom:1px solid #e3e6ea}
p{margin:.4rem 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:.8rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.45rem .9rem;border-bottom:1px solid #e3e6ea;text-align:left}
th{background:#f6f8fa;font-weight:600}
td{overflow-wrap:anywhere}
img{display:block;max-width:100%;height:auto;margin:1rem 0}
.verdict{display:inline-block;padding:.5rem 1rem;border-radius:.5rem;font-weight:600}
.PASS{background:#e6f4ea;color:#14632c}.FAIL{background:#fdeaea;color:#9b1c1c}.INCONCLUSIVE{background:#fff4dc;color:#7a4b00}
footer{margin-top:3rem;color:#5b6573;font-size:.85rem}
@media print{body{max-width:none;padding:0}}
"""


@dataclass(frozen=True)
class Heading:
    """A heading of a section."""

    text: str


@dataclass(frozen=True)
class Line:
    """A paragraph; `verdict` is the class of a verdict's badge."""

    text: str
    verdict: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture by the name of its file."""

    name: str
    text: str


Block = Heading | Line | Picture | Table


def blocks(run: RunLog, comparison: Comparison | None, lang: str) -> list[Block]:
    """The whole report."""
    say = words.WORDS[lang]
    reference = comparison.reference if comparison else None
    made: list[Block] = []
    if comparison:
        made.append(Line(words.conclusion(comparison, lang).strip("*"), str(comparison.verdict)))
    made += [Heading(say["results"]), results_table(run, reference, lang)]
    if comparison:
        made += [Heading(say["accuracy"]), *map(Line, error_lines(comparison, lang))]
        made += [Line(words.bias_line(comparison, lang)), Line(words.alignment_line(comparison, lang))]
        made += [Line(note) for note in comparison.alignment.notes]
        if comparison.alignment.differences:
            pairs = "; ".join(f"{k} {a} / {b}" for k, (a, b) in comparison.alignment.differences.items())
            made.append(Line(f"{say['differences']}: {pairs}"))
    else:
        made += [Line(note) for note in run.notes]
    made += [
        Line(f"{say[name]}, {say['allowed']}: {finding}")
        for name, log in _named(run, reference)
        for finding in log.allowed_findings
    ]
    made += [
        Line(f"{say[name]}, {words.restart_line(restart, lang)}")
        for name, log in _named(run, reference)
        for restart in log.restarts
    ]
    made += [Heading(say["curve"]), Picture("loss.png", say["curve"])]
    if comparison:
        made += [Heading(say["errors"]), Picture("errors.png", say["errors"])]
    made += [Heading(say["speed"]), speed_table(run, reference, lang)]
    made += [Line(_basis(say[name], log, lang)) for name, log in _named(run, reference)]
    if comparison:
        made += [Heading(say["checks"]), _checks(comparison, say)]
    made += [Heading(say["sources"]), _sources(run, reference, say)]
    return [block for block in made if not (isinstance(block, Line) and not block.text)]


def markdown(title: str, content: Sequence[Block]) -> str:
    """The report as Markdown; pictures are files beside it."""
    parts = [f"# {title}"]
    for block in content:
        match block:
            case Heading():
                parts.append(f"## {block.text}")
            case Line():
                parts.append(f"**{block.text}**" if block.verdict else block.text)
            case Picture():
                parts.append(f"![{block.text}]({block.name})")
            case Table():
                parts.append(markdown_table(block))
    return "\n\n".join(parts) + "\n"


def page(title: str, content: Sequence[Block], pictures: Mapping[str, bytes], lang: str) -> str:
    """The report as one HTML page: style and pictures are inside, nothing is loaded from elsewhere."""
    body = "\n".join(_html(block, pictures) for block in content)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!DOCTYPE html>\n<html lang="{lang}">\n<head>{head}<title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{html.escape(title)}</h1>\n{body}\n"
        "<footer>llmctl report</footer>\n</body>\n</html>\n"
    )


def _html(block: Block, pictures: Mapping[str, bytes]) -> str:
    match block:
        case Heading():
            return f"<h2>{html.escape(block.text)}</h2>"
        case Line():
            mark = f' class="verdict {block.verdict}"' if block.verdict else ""
            return f"<p{mark}>{html.escape(block.text)}</p>"
        case Picture():
            data = base64.b64encode(pictures[block.name]).decode("ascii")
            return f'<img alt="{html.escape(block.text)}" src="data:image/png;base64,{data}">'
        case Table():
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in block.headings)
            rows = "\n".join(
                "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in block.rows
            )
            return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _named(run: RunLog, reference: RunLog | None) -> list[tuple[str, RunLog]]:
    return [("run", run), *([("reference", reference)] if reference else [])]


def _basis(name: str, log: RunLog, lang: str) -> str:
    basis = throughput(log).basis
    if lang == "en":
        return f"{name}: computed from {basis}." if basis != "not logged" else f"{name}: the log has no times."
    chinese = {
        f"step times without the first {WARM_UP} steps": f"单步时间（不含前{WARM_UP}步）",
        "step times, warm-up included": "单步时间（含预热）",
        "the whole run time, everything included": "总运行时间（含全部开销）",
        "the trainer's steps per second": "训练器输出的steps/s",
    }
    return f"{name}：由{chinese[basis]}计算。" if basis in chinese else f"{name}：日志中没有时间。"


def _checks(comparison: Comparison, say: Mapping[str, str]) -> Table:
    return Table(
        (say["check"], say["value"], say["limit"], say["source"], say["result"]),
        tuple(
            (c.name, "-" if c.value is None else f"{c.value:.6g}", f"{c.limit:g}", c.source, str(c.result))
            for c in comparison.checks
        ),
    )


def _sources(run: RunLog, reference: RunLog | None, say: Mapping[str, str]) -> Table:
    keys = ("log", "format", "points", "first", "last", "dropped")
    rows = []
    for name, log in _named(run, reference):
        steps, losses = log.points.step, log.points.loss
        dropped = ", ".join(f"{count} x {reason}" for reason, count in log.dropped.items()) or say["none"]
        ends = (f"{losses[0]:.4f} ({steps[0]})", f"{losses[-1]:.4f} ({steps[-1]})")
        rows.append((f"{say[name]}: {log.source}", log.format, str(len(log.points)), *ends, dropped))
    return Table(tuple(say[key] for key in keys), tuple(rows))
