"""A report as one HTML page that carries all it needs: style, charting library, data."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from llmctl_reports.curves import Chart
from llmctl_reports.document import Block, Heading, Line
from llmctl_reports.profiles import Verdict
from llmctl_reports.tables import Table
from llmctl_reports.vector import svg
from llmctl_reports.words import WORDS

UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
"""What could end a script element or a line of it."""

NO_BREAK = "\u00a0"
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'"


def page(title: str, content: Sequence[Block], lang: str) -> str:
    """The page. Nothing is loaded from elsewhere, and its policy lets a browser run only its own script; without
    scripts and on paper the charts are static pictures."""
    say = WORDS[lang]
    style = _own("uplot/uPlot.min.css") + _own("style.css")
    script = _own("uplot/uPlot.iife.min.js") + "\n" + _own("charts.js")
    drawn = [block for block in content if isinstance(block, Chart)]
    data = {"words": {name: say[name] for name in ("log_axis", "reset")}, "charts": [_data(each) for each in drawn]}
    return Template(_own("page.html")).substitute(
        lang=escape({"zh": "zh-CN"}.get(lang, lang)),
        policy=escape(f"{POLICY}; script-src {_digest(script)}"),
        title=escape(title),
        style=style,
        body="\n".join(_body(title, content, say["handling"])),
        footer=escape(say["made_by"]),
        data=json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(UNSAFE),
        script=script,
    )


def _own(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _data(chart: Chart) -> dict[str, Any]:
    curves = []
    for curve in chart.curves:
        short = [float(f"{value:.7g}") for value in curve.y.tolist()]
        curves.append({"name": curve.name, "side": curve.side, "kind": curve.kind, "x": curve.x.tolist(), "y": short})
    limit = chart.band[0] if chart.band else None
    return {"name": chart.name, "x": chart.x, "y": chart.y, "band": limit, "curves": curves}


def _body(title: str, content: Sequence[Block], handling: str) -> Iterator[str]:
    section = title
    for block in content:
        section = block.text if isinstance(block, Heading) else section
        yield _html(block, section, handling)


def _html(block: Block, section: str, handling: str) -> str:
    """`section` is the name of a table for those who do not see it."""
    match block:
        case Heading():
            return f"<h2>{escape(block.text)}</h2>"
        case Line():
            mark = f' class="verdict {block.verdict}"' if block.verdict else ""
            return f"<p{mark}>{escape(block.text)}</p>"
        case Chart():
            keys = [f'<li class="{curve.side} {curve.kind}">{escape(curve.name)}</li>' for curve in block.curves]
            keys += [f'<li class="band">{escape(block.band[1])}</li>'] if block.band else []
            told = " ".join(escape(note) for note in block.notes)
            return (
                f'<figure id="chart-{block.name}" aria-label="{escape(block.title)}">\n'
                f'<ul class="keys">{"".join(keys)}</ul>\n{svg(block)}\n<div class="live"></div>\n'
                f'<figcaption>{told} <span class="live">{escape(handling)}</span></figcaption>\n</figure>'
            )
        case Table():
            head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in block.headings)
            rows = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in block.rows)
            inside = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
            area = f'<div class="scroll" role="region" aria-label="{escape(section)}" tabindex="0">'
            return f"{area}<table>\n{inside}\n</table></div>"


def _cell(text: str) -> str:
    mark = f' class="{text}"' if text in set(Verdict) else ""
    return f"<td{mark}>{escape(text.replace(' %', NO_BREAK + '%'))}</td>"
