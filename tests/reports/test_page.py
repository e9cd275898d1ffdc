"""The page in a real browser: charts that are drawn, zoomed and read; light, dark, printed, and without scripts."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from llmctl_reports.document import blocks
from llmctl_reports.page import page
from llmctl_reports.values import Meta, RunLog
from llmctl_reports.verdict import Comparison, compare

from tests.reports.browser import Browser, chromium
from tests.reports.made_points import made_log, points_of

END = '</script><script>alert("1")</script><img src=x onerror=alert(2)>\u2028&lt;"\''
CHARTS = ("loss", "errors", "seconds", "grad_norm")
RUN, REFERENCE = {"light": (0x1F, 0x6F, 0xEB), "dark": (0x5A, 0xA2, 0xFF)}, {"light": (0xD9, 0x82, 0x2B)}


def noisy(count: int, seed: int) -> RunLog:
    """A log with all columns under a name that would end a script."""
    chance = np.random.default_rng(seed)
    steps = np.arange(1, count + 1)
    loss = 1.2 + 2.5 * np.exp(-steps / 250) + chance.normal(0, 0.05, count)
    points = points_of(
        zip(steps.tolist(), loss.tolist(), strict=True),
        seconds=0.5 + chance.normal(0, 0.01, count),
        grad_norm=1 + np.exp(-steps / 100),
    )
    return RunLog(source=END, format="steps.jsonl", points=points, meta=Meta(model=END, global_batch=8))


def compared(count: int) -> Comparison:
    return compare(noisy(count, 1), noisy(count, 2))


def written(found: Comparison, lang: str = "en", title: str = END) -> str:
    return page(title, blocks(found.run, found, lang, differences=[("cann", END, "8.2")]), lang)


def embedded(text: str) -> str:
    """The JSON that the page carries."""
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "报告 'a'.html"
    path.write_text(written(compared(1000)), encoding="utf-8")
    return path


def colours(png: bytes, wanted: tuple[int, int, int]) -> int:
    """How many pixels have that colour."""
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return int((np.abs(pixels - np.array(wanted)).max(axis=2) < 12).sum())


def edges(browser: Browser, name: str) -> dict[str, float]:
    """Where the plotting area of a chart lies, after it was scrolled to."""
    asked = f"document.querySelector('#chart-{name} .u-over')"
    browser.value(f"{asked}.scrollIntoView({{block: 'center'}})")
    found: dict[str, float] = browser.value(f"JSON.parse(JSON.stringify({asked}.getBoundingClientRect()))")
    return found


def legend(browser: Browser, name: str) -> list[str]:
    """The values that the legend of a chart shows, the step first."""
    shown: list[str] = browser.value(
        f"[...document.querySelectorAll('#chart-{name} .u-value')].map(e => e.textContent)"
    )
    return shown


def test_the_vendored_files_are_those_that_their_note_names() -> None:
    folder = files("llmctl_reports.page") / "uplot"
    named = re.findall(r"`(\S+)` \| `([0-9a-f]{64})`", (folder / "README.md").read_text(encoding="utf-8"))
    assert {name for name, _ in named} == {each.name for each in folder.iterdir()} - {"README.md", "LICENSE"}
    assert [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name, _ in named] == [
        each for _, each in named
    ]
    assert "MIT" in (folder / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_is_small_loads_nothing_and_escapes_names(lang: str) -> None:
    text = written(compared(1000), lang)
    data = embedded(text)
    outside = text.replace(data, "")
    assert len(outside.encode()) < 600_000
    assert re.findall(r"<(script|img|link|iframe)\b[^>]*>", outside) == ["script", "script"]
    assert not re.search(
        r"(?:src|href)\s*=\s*[\"']|@import|url\(", re.sub(r"<script>.*?</script>", "", outside, flags=re.S)
    )
    assert "&lt;/script&gt;&lt;script&gt;alert(&quot;1&quot;)" in outside
    assert "<" not in data
    assert [chart["name"] for chart in json.loads(data)["charts"]] == list(CHARTS)
    assert "script-src &#x27;sha256-" in text


def test_long_logs_are_thinned_and_the_page_says_so() -> None:
    found = compare(made_log(50_000), made_log(50_000, 1.01))
    text = written(found)
    assert max(len(curve["x"]) for chart in json.loads(embedded(text))["charts"] for curve in chart["curves"]) <= 20_004
    assert text.count("Drawn from about 20000 points a curve") == 3


def test_every_chart_is_drawn_and_nothing_goes_wrong(browser: Browser, report: Path) -> None:
    browser.open(report)
    assert browser.value("document.querySelectorAll('figure.drawn').length") == len(CHARTS)
    for name, count in zip(CHARTS, (4, 2, 4, 4), strict=True):
        assert len(legend(browser, name)) == count + 1
        assert browser.value(f"document.querySelector('#chart-{name} canvas').width") > 500
    assert browser.value("document.querySelector('h1').textContent") == END
    shot = browser.screenshot()
    assert colours(shot, RUN["light"]) > 2000
    assert colours(shot, REFERENCE["light"]) > 300
    assert browser.told == []
    assert [url for url in browser.asked if not url.startswith("file:")] == []


def test_dark_is_dark_and_follows_the_user(browser: Browser, report: Path) -> None:
    browser.open(report, dark=True)
    shot = browser.screenshot()
    assert colours(shot, RUN["dark"]) > 2000
    assert colours(shot, (255, 255, 255)) < 1000
    browser.dark(False)
    shot = browser.screenshot()
    assert colours(shot, RUN["light"]) > 2000
    assert colours(shot, (0x12, 0x16, 0x1C)) == 0


def test_pointing_shows_values_in_all_charts(browser: Browser, report: Path) -> None:
    browser.open(report)
    box = edges(browser, "loss")
    browser.mouse("mouseMoved", box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    step, *losses = legend(browser, "loss")
    assert 400 < int(step.replace(",", "")) < 600
    assert all(1.0 < float(value) < 2.5 for value in losses)
    assert legend(browser, "errors")[0] == step


def test_dragging_zooms_all_charts_and_the_button_shows_all(browser: Browser, report: Path) -> None:
    browser.open(report)

    def last_step(name: str) -> int:
        at = edges(browser, name)
        browser.mouse("mouseMoved", at["x"] + at["width"] - 2, at["y"] + 60)
        return int(legend(browser, name)[0].replace(",", ""))

    assert last_step("loss") > 990
    box = edges(browser, "seconds")
    y, ends = box["y"] + 50, [box["x"] + part * box["width"] for part in (0.5, 0.75)]
    browser.mouse("mouseMoved", ends[0], y)
    browser.mouse("mousePressed", ends[0], y, clicks=1)
    browser.mouse("mouseMoved", ends[1], y, clicks=1)
    browser.mouse("mouseReleased", ends[1], y, clicks=1)
    assert 700 < last_step("seconds") < 800
    assert 700 < last_step("loss") < 800
    browser.value("document.querySelector('#chart-errors button').click()")
    assert last_step("loss") > 990
    assert browser.told == []


def test_a_narrow_window_and_a_logarithmic_axis(browser: Browser, report: Path) -> None:
    browser.open(report, width=1100)
    browser.resize(420)
    browser.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser.value("document.querySelector('#chart-loss canvas').width") < 420
    assert browser.value("document.documentElement.scrollWidth") <= 420
    browser.value("document.querySelector('#chart-loss input').click()")
    assert len(legend(browser, "loss")) == 5
    assert browser.value("document.querySelectorAll('#chart-errors input').length") == 0
    assert browser.told == []


def test_without_scripts_the_pictures_and_tables_are_shown(browser: Browser, report: Path) -> None:
    browser.open(report, scripts=False)
    shot = browser.screenshot()
    assert colours(shot, RUN["light"]) > 2000
    browser.open(report)
    assert browser.value("getComputedStyle(document.querySelector('svg.static')).display") == "none"


def test_it_prints_on_few_pages_with_sharp_charts(browser: Browser, report: Path) -> None:
    browser.open(report, dark=True)
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) <= 6
    assert b"/Subtype /Image" not in pdf


def test_chinese_is_shown_in_chinese(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "zh.html"
    path.write_text(written(compared(300), "zh", "训练报告"), encoding="utf-8")
    browser.open(path)
    assert browser.value("document.documentElement.lang") == "zh-CN"
    assert browser.value("document.querySelector('#chart-loss .u-label').textContent") == "步"
    assert browser.value("document.querySelector('#chart-errors svg').getAttribute('aria-label')").startswith(
        "相对误差"
    )
    # A font without these signs gives every one the same box.
    widths = browser.value(
        "(() => { const c = document.createElement('canvas').getContext('2d'); c.font = '32px sans-serif';"
        "const draw = t => { c.clearRect(0, 0, 99, 99); c.fillText(t, 0, 40); return c.canvas.toDataURL(); };"
        "return new Set([...'训练报告'].map(draw)).size; })()"
    )
    assert widths == 4
    assert browser.told == []


@pytest.mark.parametrize("count", [1, 12, 50_000])
def test_short_and_long_logs_are_drawn_too(browser: Browser, tmp_path: Path, count: int) -> None:
    path = tmp_path / "page.html"
    path.write_text(written(compared(count)), encoding="utf-8")
    browser.open(path)
    browser.screenshot()
    # One point is too few for errors.
    drawn = len(CHARTS) - (count == 1)
    assert browser.value("document.querySelectorAll('figure').length") == drawn
    assert browser.value("document.querySelectorAll('figure.drawn').length") == drawn
    assert browser.told == []
