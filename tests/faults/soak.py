"""Run rows of the fault table many times: `python -m tests.faults.soak ROWS TIMES [PROCESSES]`.

ROWS is a pattern of row names (`rank_*`, `*`). A row of which every run was good gets count and date in
docs/reliability.md; of one that failed, the count there is taken away.
"""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from tests.faults.table import PAGE, Row, replace_rows, rows_of_page, rows_of_tests

CHECKOUT = Path(__file__).resolve().parents[2]


def run(names: list[str], times: int, processes: int) -> tuple[Counter[str], Counter[str]]:
    """Each row `times` times, several at once; how often each was good, and how often not. What a Ctrl-C leaves out is
    neither."""
    places = rows_of_tests()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        argv = [sys.executable, "-m", "pytest", *[f"{places[name].file}::test_{name}" for name in names]]
        argv += ["-n", str(processes), "--dist", "loadgroup", "-q", "--tb=short", f"--junit-xml={report}"]
        subprocess.run(argv, cwd=CHECKOUT, env={**os.environ, "LLMCTL_SOAK": str(times)}, check=False)
        good, bad = Counter[str](), Counter[str]()
        for case in ET.parse(report).getroot().iter("testcase"):
            name = case.attrib.get("name", "").removeprefix("test_").partition("[")[0]
            (good if len(case) == 0 or case[0].tag == "system-out" else bad)[name] += 1
    return good, bad


def note(row: Row, good: int, bad: int) -> Row:
    """The row with what came out of its soak; one that was not run stays as it was."""
    if bad:
        return row._replace(soak="")
    return row._replace(soak=f"{good} x, {time.strftime('%Y-%m-%d', time.gmtime())}") if good else row


def main(pattern: str, times: int, processes: int) -> int:
    """Run, tell, write down; 1 when any run was bad."""
    names = [name for name in rows_of_tests() if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        print(f"no row {pattern!r}; there are {', '.join(rows_of_tests())}")
        return 2
    good, bad = run(names, times, processes)
    for name in names:
        print(f"{name}: {good[name]} good, {bad[name]} bad")
    changed = [note(row, good[row.name], bad[row.name]) for row in rows_of_page()]
    PAGE.write_text(replace_rows(PAGE.read_text(encoding="utf-8"), changed), encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(words[0], int(words[1]), int(words[2]) if len(words) > 2 else 4))
