"""Who is odd: pins first, then a baseline, then a strict majority, else nobody."""

from __future__ import annotations

from typing import Any

import pytest

from llmctl.checks.facts import Fact, Finding, Severity
from llmctl.checks.host import host_rows
from llmctl.checks.judge import expectation, judge
from llmctl.checks.parsers.python import conda_packages
from llmctl.checks.parsers.text import text
from llmctl.checks.rows import Row, Wanted, major_differs, minor_differs
from llmctl.checks.vendors import VENDORS

DRIVER = Row(name="driver.version", run="cat f", parse=text, remedy="install the same")


def facts(name: str, *values: Any) -> list[Fact]:
    """Values of node1, node2, ...; an exception is what could not be read."""
    return [
        Fact(name=name, node=f"node{number}", error=str(value))
        if isinstance(value, Exception)
        else Fact(name=name, node=f"node{number}", value=value)
        for number, value in enumerate(values, start=1)
    ]


def told(*values: Any, row: Row = DRIVER, expected: dict[str, Any] | None = None) -> list[Finding]:
    return judge([row], facts(row.name, *values), expected or {}, Wanted())


def test_equal_nodes_give_no_finding() -> None:
    assert told("25.0", "25.0", "25.0") == []
    assert told("25.0") == []


def test_the_one_that_differs_from_a_majority_is_named() -> None:
    (finding,) = told("25.0", "24.1", "25.0")
    assert (finding.code, finding.severity, finding.nodes) == ("driver.version.differs", Severity.ERROR, ("node2",))
    assert finding.title == "driver.version differs: 24.1 on node2; 25.0 on the other 2"
    assert finding.values == {"node1": "25.0", "node2": "24.1", "node3": "25.0"}
    assert finding.remedy == "install the same"


def test_of_two_nodes_nobody_is_odd_and_what_would_decide_is_said() -> None:
    (finding,) = told("25.0", "24.1")
    assert finding.nodes == ()
    assert "25.0 on node1, 24.1 on node2" in finding.title
    assert "cluster.expect" in finding.remedy
    assert "--baseline" in finding.remedy


def test_half_of_the_nodes_are_no_majority() -> None:
    assert told("a", "a", "b", "c")[0].nodes == ()
    assert told("a", "a", "b", "b")[0].nodes == ()


def test_a_node_that_is_not_known_counts_against_a_majority() -> None:
    unknown, differs = sorted(told("a", "a", "b", ValueError("gone")), key=lambda finding: finding.code, reverse=True)
    assert (unknown.code, unknown.nodes) == ("driver.version.unknown", ("node4",))
    assert differs.nodes == ()


def test_pins_come_before_the_majority() -> None:
    (finding,) = told("25.0", "25.0", "24.1", expected={"driver.version": "24.1"})
    assert finding.nodes == ("node1", "node2")
    assert finding.title == "driver.version is 25.0 on node[1-2], expected is 24.1"
    assert told("24.1", expected={"driver.version": "24.1"}) == []


def test_what_is_unknown_equals_nothing_not_even_another_unknown() -> None:
    (finding,) = told(ValueError("no file"), ValueError("no file"))
    assert (finding.code, finding.severity) == ("driver.version.unknown", Severity.WARNING)
    assert finding.nodes == ("node1", "node2")
    assert finding.title == "driver.version is not known on node[1-2]: no file"


def test_what_is_pinned_and_not_known_blocks() -> None:
    (finding,) = told(ValueError("no file"), expected={"driver.version": "25.0"})
    assert finding.severity is Severity.ERROR


def test_a_difference_in_a_table_shows_only_what_differs() -> None:
    row = Row(name="conda.packages", run="ls", parse=conda_packages)
    same = {f"p{i}": "1" for i in range(100)}
    (finding,) = told(same | {"torch": "2.6"}, same | {"torch": "2.5"}, same | {"torch": "2.6"}, row=row)
    assert finding.title == "conda.packages differs: torch 2.5 on node2; torch 2.6 on the other 2"


@pytest.mark.parametrize("value", ["'; echo foo", "a\nb", "节点", "[red]x[/red]", "", "x" * 5000, None, 0, [], {}])
def test_hostile_values_are_values(value: Any) -> None:
    (finding,) = told(value, "25.0", "25.0")
    assert finding.nodes == ("node1",)
    assert finding.values["node1"] == value
    assert len(finding.title) < 400


@pytest.mark.parametrize(
    ("grade", "values", "severity"),
    [
        (minor_differs, ["3.11.2", "3.11.7"], Severity.WARNING),
        (minor_differs, ["3.10.2", "3.11.2"], Severity.ERROR),
        (major_differs, ["570.86.15", "570.124.06"], Severity.WARNING),
        (major_differs, ["570.86.15", "580.95.05"], Severity.ERROR),
    ],
)
def test_how_far_apart_versions_may_be(grade, values: list[str], severity: Severity) -> None:
    row = Row(name="v", run="v", parse=text, grade=grade)
    assert told(*values, row=row)[0].severity is severity


def test_errors_come_first() -> None:
    info = Row(name="os.kernel", run="uname -r", parse=text, severity=Severity.INFO)
    found = judge([info, DRIVER], [*facts("os.kernel", "1", "2"), *facts("driver.version", "1", "2")], {}, Wanted())
    assert [finding.severity for finding in found] == [Severity.ERROR, Severity.INFO]


def row_of(name: str, device: str | None = None) -> Row:
    rows = VENDORS[device].rows if device else host_rows("/data", pdsh=True)
    return next(row for row in rows if row.name == name)


def on_one(row: Row, value: Any, **wanted: Any) -> list[tuple[str, Severity]]:
    found = judge([row], facts(row.name, value), {}, Wanted(**wanted))
    return [(finding.code, finding.severity) for finding in found]


def devices(*states: tuple[str, bool]) -> list[dict[str, Any]]:
    return [{"model": "910B3", "health": health, "busy": busy} for health, busy in states]


@pytest.mark.parametrize("device", [name for name in VENDORS if name != "cpu"])
def test_devices_too_few_ill_or_busy(device: str) -> None:
    row = row_of("accelerator.devices", device)
    good, busy, ill = ("OK", False), ("OK", True), ("Alarm", False)
    error, warning = [(f"{row.name}.wrong", Severity.ERROR)], [(f"{row.name}.wrong", Severity.WARNING)]
    assert on_one(row, devices(good, good), slots={"node1": 2}) == []
    assert on_one(row, devices(good), slots={"node1": 2}) == error
    assert on_one(row, devices(good, ill)) == error
    assert on_one(row, devices(good, busy)) == warning
    assert on_one(row, ValueError("failed")) == [(f"{row.name}.unknown", Severity.WARNING)]
    assert on_one(row, ValueError("failed"), slots={"node1": 2}) == [(f"{row.name}.unknown", Severity.ERROR)]


@pytest.mark.parametrize(
    ("name", "value", "severity"),
    [
        ("host.shm", {"size": 64 * 2**20, "free": 0}, Severity.ERROR),
        ("host.shm", {"size": 512 * 2**20, "free": 0}, Severity.WARNING),
        ("host.shm", {"size": 2**30, "free": 0}, None),
        ("host.limits", {"locked_kb": 64, "open_files": 1024}, Severity.WARNING),
        ("host.limits", {"locked_kb": None, "open_files": None}, None),
        ("disk.workdir", {"size": 2**40, "free": 10}, Severity.ERROR),
        ("disk.workdir", {"size": 2**40, "free": 2**30}, Severity.WARNING),
        ("disk.workdir", {"size": 2**40, "free": 2**39}, None),
        ("disk.tmp", {"size": 2**30, "free": 2**20}, Severity.WARNING),
        ("disk.tmp", {"size": 2**40, "free": 2**30}, Severity.WARNING),
        ("disk.cache", {"size": 2**32, "free": 2**30}, None),
        ("host.cores", 1, Severity.WARNING),
        ("pdsh", {"version": "2.34", "ssh": False}, Severity.ERROR),
        ("pdsh", {"version": "2.34", "ssh": True}, None),
        ("pdsh", ValueError("not found"), Severity.ERROR),
    ],
)
def test_limits_of_one_node(name: str, value: Any, severity: Severity | None) -> None:
    found = on_one(row_of(name), value, slots={"node1": 2}, disk=1000)
    assert [each for _, each in found] == ([severity] if severity else [])


def test_operator_package_and_components_must_be_the_toolkits() -> None:
    kernels, parts = row_of("kernels.version", "npu"), row_of("toolkit.components", "npu")
    toolkit = facts("toolkit.version", "8.2.RC1")
    for value, codes in [("8.2.RC1", []), ("8.1.RC1", ["kernels.version.wrong"])]:
        found = judge([kernels], [*facts(kernels.name, value), *toolkit], {}, Wanted())
        assert [finding.code for finding in found] == codes
    assert on_one(parts, {"runtime": "8.2.RC1", "hccl": "8.2.RC1"}) == []
    assert on_one(parts, {"runtime": "8.2.RC1", "runtime installed": "8.1.RC1"}) == [
        ("toolkit.components.wrong", Severity.WARNING)
    ]
    assert on_one(parts, {"runtime": "8.2.RC1", "hccl": "8.1.RC1"}) == [("toolkit.components.wrong", Severity.ERROR)]


KNOWN = ["toolkit.version", "driver.version", "package.torch-npu", "python.version"]


def test_pins_by_their_short_names() -> None:
    pins = {"cann": "8.2.RC1", "driver": "25.0", "torch_npu": "2.6.0", "python.version": "3.11.2"}
    assert expectation(pins, (), KNOWN) == {
        "toolkit.version": "8.2.RC1", "driver.version": "25.0", "package.torch-npu": "2.6.0",
        "python.version": "3.11.2",
    }  # fmt: skip


def test_a_pin_of_nothing_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="no_such"):
        expectation({"no_such": "1"}, (), KNOWN)


def test_a_baseline_gives_what_its_nodes_had_in_common_and_pins_win() -> None:
    saved = [*facts("driver.version", "25.0", "25.0"), *facts("toolkit.version", "a", "b"),
             *facts("python.version", ValueError("x"))]  # fmt: skip
    assert expectation({}, saved, KNOWN) == {"driver.version": "25.0"}
    assert expectation({"driver": "24.1"}, saved, KNOWN) == {"driver.version": "24.1"}


def test_one_failing_command_is_told_once_by_the_row_that_must_have_it() -> None:
    rows = [
        Row(name="python", run="py", parse=text, must="python cannot be run"),
        Row(name="package.torch", run="py", parse=text),
        Row(name="os", run="other", parse=text),
    ]
    errors = [Fact(name=row.name, node="node1", error="no such file") for row in rows]
    fine = [Fact(name=row.name, node="node2", value="1") for row in rows]
    found = judge(rows, [*errors, *fine], {}, Wanted())
    assert [(finding.code, finding.nodes) for finding in found] == [
        ("python.missing", ("node1",)),
        ("os.unknown", ("node1",)),
    ]


def test_processes_of_runs_are_not_said_to_be_left_over() -> None:
    (found,) = judge(
        [row_of("runs.leftover")], [Fact(name="runs.leftover", node="node1", value={"r-1": 4})], {}, Wanted()
    )
    assert (found.severity, found.code) == (Severity.WARNING, "runs.leftover.wrong")
    assert "alive or left over: 4 of r-1" in str(found)
    assert "llmctl nodes clean" in str(found)
