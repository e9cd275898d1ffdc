"""Sophgo cards with libsophon. Never `--recovery`, `--ecc` or `--led`: they disturb what runs."""

from __future__ import annotations

from llmctl.checks.facts import Severity
from llmctl.checks.parsers import sophgo
from llmctl.checks.rows import Complaint, Row, Rule, Wanted, or_none
from llmctl.checks.vendors.vendor import Vendor, device_rows

_BM_SMI = (
    'PATH="$PATH:/opt/sophon/libsophon-current/bin"; n=$(cat /proc/bmsophon/chip_num) && '
    "bm-smi --start_dev=0 --last_dev=$((n - 1)) --text_format"
)


def _split(wanted: Wanted, _node: str) -> Complaint:
    devices = wanted.facts.get("accelerator.devices")
    first, count = wanted.variables.get("CHIPS", "0"), wanted.variables.get("SOPHGO_SPLIT", "1")
    if devices is None or not (first.isdecimal() and count.isdecimal()):
        return None
    last = int(first) + int(count)
    if last > len(devices):
        return Severity.ERROR, f"CHIPS {first} and SOPHGO_SPLIT {count} need {last} chips, there are {len(devices)}"
    return None


VENDOR = Vendor(
    name="sophgo",
    title="Sophgo card",
    present="[ -e /dev/bm-sophon0 ] || [ -e /proc/bmsophon/driver_version ]",
    variables=("SOPHGO_", "USE_SOPHGO", "CHIPS", "CHIP_MAP", "CHIP_ARCH", "SCCL_"),
    rows=(
        *device_rows(_BM_SMI, sophgo.bm_smi, "`bm-smi --text_format`"),
        Row(
            name="driver.version", run="cat /proc/bmsophon/driver_version", parse=sophgo.driver,
            source="`/proc/bmsophon/driver_version`", why="the runtime and the card do not speak the same language",
            remedy="install the same sophon driver on all nodes",
        ),
        Row(
            name="toolkit.version", parse=sophgo.library, run="readlink -f /opt/sophon/libsophon-current",
            source="target of `/opt/sophon/libsophon-current`", why="compiled models do not load",
            remedy="install the same libsophon on all nodes",
        ),
        Row(
            name="firmware.version", severity=Severity.WARNING, parse=or_none(sophgo.firmware),
            run="grep -s . /proc/bmsophon/card*/bmsophon*/boot_loader_version "
            "/proc/bmsophon/card*/bmsophon*/firmware_info || echo none",
            source="`/proc/bmsophon/card*/bmsophon*/{boot_loader_version,firmware_info}`",
            why="chips behave differently under one driver", remedy="update the firmware of all cards to one release",
        ),
    ),
    rules=(
        Rule(
            name="sophgo.chips", judge=_split, severity=Severity.ERROR, also=("accelerator.devices",),
            source="`CHIPS` and `SOPHGO_SPLIT` of the recipe's environment, `bm-smi`",
            why="the demo's runtime opens chips that are not there", remedy="lower SOPHGO_SPLIT in cluster.env",
        ),
    ),
)  # fmt: skip
