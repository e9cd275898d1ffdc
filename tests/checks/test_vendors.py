"""What holds for every kind of device, whoever added it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llmctl.checks.facts import Fact, Severity
from llmctl.checks.judge import judge
from llmctl.checks.probing import facts
from llmctl.checks.rows import Row, Wanted
from llmctl.checks.vendors import PRESENT, VENDORS
from llmctl.checks.vendors.vendor import Vendor

WITH_DEVICES = [vendor for vendor in VENDORS.values() if vendor.name != "cpu"]
FOREIGN = ["", "\n\n", "'; echo foo", "节点", "| x |", "=", "[]", "{}", "| 1 |\n| 2 |", "\x00\x01", "a" * 10_000, "-1",
           '{"card0": []}', "device\n", "name\n", "Permission denied\n"]  # fmt: skip


def row(vendor: Vendor, name: str) -> Row:
    return next(each for each in vendor.rows if each.name == name)


def judged(each: Row, value: Any, slots: int | None = None) -> list[tuple[str, Severity]]:
    wanted = Wanted(slots={"n": slots} if slots else {})
    fact = Fact(name=each.name, node="n", error=str(value)) if isinstance(value, Exception) else Fact(
        name=each.name, node="n", value=value
    )  # fmt: skip
    return [(finding.code, finding.severity) for finding in judge([each], [fact], {}, wanted)]


def test_the_registry_names_each_by_its_own_name() -> None:
    assert all(name == vendor.name for name, vendor in VENDORS.items())
    assert all(f"echo {vendor.name};" in PRESENT for vendor in WITH_DEVICES)


@pytest.mark.parametrize("vendor", WITH_DEVICES, ids=lambda vendor: vendor.name)
def test_it_tells_devices_driver_and_the_variables_that_matter(vendor: Vendor) -> None:
    assert {"accelerator.models", "accelerator.devices", "driver.version"} <= {each.name for each in vendor.rows}
    assert vendor.variables
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", prefix) for prefix in vendor.variables)


@pytest.mark.parametrize("vendor", WITH_DEVICES, ids=lambda vendor: vendor.name)
def test_devices_that_are_too_few_ill_or_in_use(vendor: Vendor) -> None:
    def devices(*states: tuple[str, bool]) -> list[dict[str, Any]]:
        return [{"model": "X1", "health": health, "busy": busy, "memory_mb": 1} for health, busy in states]

    each = row(vendor, "accelerator.devices")
    error, warning = [("accelerator.devices.wrong", Severity.ERROR)], [("accelerator.devices.wrong", Severity.WARNING)]
    good, busy, ill = ("OK", False), ("OK", True), ("Alarm", False)
    assert judged(each, devices(good, good), 2) == []
    assert judged(each, devices(good), 2) == error
    assert judged(each, devices(good, ill)) == error
    assert judged(each, devices(good, busy)) == warning
    assert judged(each, ValueError("failed")) == [("accelerator.devices.unknown", Severity.WARNING)]
    assert judged(each, ValueError("failed"), 2) == [("accelerator.devices.unknown", Severity.ERROR)]


@pytest.mark.parametrize("vendor", WITH_DEVICES, ids=lambda vendor: vendor.name)
@pytest.mark.parametrize("out", FOREIGN)
def test_foreign_text_is_no_device_and_no_crash(vendor: Vendor, out: str) -> None:
    with pytest.raises(ValueError):
        row(vendor, "accelerator.devices").parse(out)
    keys = [f"{'env' if each.env else 'host'} {each.run}" for each in vendor.rows]
    told = {"commands": {key: {"code": 0, "out": out, "err": ""} for key in keys}}
    assert all(fact.error != "" for fact in facts("n", vendor.rows, told))
