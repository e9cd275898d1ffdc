"""What the pages about hosts, doctor and troubles tell is there: commands, options, codes, rows, formats."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from llmctl.recipe.hostlists import FORMATS
from llmctl.workflows.doctor_machine import read_machine
from llmctl.workflows.doctor_rows import judge
from tests.conftest import RunLlmctl

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("hosts.md", "doctor.md", "troubleshooting.md", "two-nodes.md", "two-nodes_zh.md")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_commands_and_options_exist(name: str, run_llmctl: RunLlmctl) -> None:
    found: dict[str, set[str]] = {}
    code = re.findall(r"^    (.+)$|`([^`\n]+)`", page(name), re.MULTILINE)
    text = "\n".join(block or inline for block, inline in code)
    for line in re.findall(r"\bllmctl ([a-z-]+(?: convert| show| list)?)([^|\n]*)", text):
        found.setdefault(line[0], set()).update(re.findall(r"(?<!\S)--[a-z-]+", line[1].split("#")[0]))
    assert found
    for command, options in found.items():
        told = run_llmctl(*command.split(), "--help", code=0).stdout
        for option in options:
            assert re.search(rf"{option}\b", told), f"llmctl {command} has no {option}"


def test_codes_of_findings_exist() -> None:
    known = set(re.findall(r"`([a-z0-9_.-]+)`", page("findings.md")))
    known |= {f"{code.rpartition('.')[0]}.unknown" for code in known}
    named = re.findall(
        r"`((?:[a-z0-9_-]+\.)+(?:differs|wrong|missing|unknown|twice|taken|slow|told))`", page("troubleshooting.md")
    )
    assert len(named) > 30
    assert [code for code in named if code not in known] == []


def test_the_table_of_formats_is_what_they_carry() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (?:.*?) \|((?:[a-z ]*\|){7})$", page("hosts.md"), re.MULTILINE)
    table = {name: [cell.strip() for cell in cells.split("|")[:-1]] for name, cells in rows}
    columns = ("slots", "max_slots", "address", "port", "user", "groups", "order")
    assert table.keys() == FORMATS.keys()
    for name, cells in table.items():
        assert {column for column, cell in zip(columns, cells, strict=True) if cell} == FORMATS[name].carries - {
            "variables"
        }
        assert ("variables" in FORMATS[name].carries) == ("groups" in FORMATS[name].carries)


def test_every_row_of_doctor_is_described(tmp_path: Path) -> None:
    machine = read_machine(tmp_path)
    rows = judge(machine) + judge(replace(machine, ssh_keygen=False, pdsh_environment={"WCOLL": "/x"}))
    described = set(re.findall(r"`([a-z_.*]+)`", page("doctor.md")))
    missing = {row.what for row in rows if row.what not in described and f"{row.what.split('.')[0]}.*" not in described}
    assert missing == set()


def test_both_languages_show_the_same_commands() -> None:
    def commands(name: str) -> list[str]:
        rows = [line for line in page(name).splitlines() if line.startswith("| ")]
        return sorted(re.findall(r"`([^`]+)`", "\n".join(rows)))

    assert commands("two-nodes.md") == commands("two-nodes_zh.md")
    assert len(commands("two-nodes.md")) > 20
