"""Ascend: version files of driver, firmware and CANN; npu-smi and hccn_tool."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from llmctl.checks.parsers.text import key_values, lines, one_of

_COMPONENT = re.compile(r"^(\w+?)_(running|upgrade|installed)_version=\[([^:\]]*):([^\]]*)\]", re.MULTILINE)


def driver(out: str) -> dict[str, str]:
    """The driver's `version.info`: {version, inner, firmware}. `version` is `package_version`, which 24.1.rc1 does not
    have yet, else `Version`; `firmware` is the range that it declares to work with."""
    values = key_values(out)
    return {
        "version": one_of(values, "package_version", "Version"),
        "inner": values.get("Innerversion", ""),
        "firmware": values.get("compatible_version_fw", ""),
    }


def driver_version(out: str) -> str:
    """The version of `driver`."""
    return driver(out)["version"]


def firmware(out: str) -> str:
    """The firmware's `version.info`: `Version`, which is what is flashed; its package has a number of its own."""
    return one_of(key_values(out), "Version")


def toolkit(out: str) -> str:
    """`ascend_toolkit_install.info`: exactly the key `version`, which `innerversion` is not."""
    return one_of(key_values(out), "version")


def toolkit_drivers(out: str) -> dict[str, Any]:
    """`ascend_toolkit_install.info`: {own, ranges}: the toolkit's own generation `VxxxRxxxCxx`, and the first and last
    one of each range of drivers that it declares to work with."""
    values = key_values(out)
    own = re.match(r"V\d+R\d+C\d+", values.get("innerversion", ""))
    groups = [
        re.findall(r"V\d+R\d+C\d+", part) for part in re.findall(r"\[([^\]]*)\]", values.get("compatible_version", ""))
    ]
    return {"own": own[0] if own else "", "ranges": [[group[0], group[-1]] for group in groups if group]}


def package_release(out: str) -> str:
    """The release that an operator, toolkit or runtime package is of: `version_dir`, in the newer layout `version`."""
    return one_of(key_values(out), "version_dir", "version")


def components(out: str) -> dict[str, str]:
    """`version.cfg`: `component` and `component installed` -> release. Raises ValueError without such lines."""
    names = {"running": "", "installed": " installed"}
    found = {m[1] + names[m[2]]: m[4] for m in _COMPONENT.finditer(out) if m[2] in names}
    if not found:
        raise ValueError("no component_running_version line")
    return found


def atb(out: str) -> str:
    """`nnal/atb/latest/version.info`: the release of the transformer boost library."""
    return one_of(key_values(out, ":"), "Ascend-cann-atb Version", "Ascend-cann-atb")


def install_pointer(out: str) -> dict[str, str]:
    """`/etc/ascend_install.info`: where driver and firmware lie."""
    values = key_values(out)
    return {"driver": one_of(values, "Driver_Install_Path_Param"), "kind": values.get("Driver_Install_Type", "")}


def npu_smi(out: str) -> list[dict[str, Any]]:
    """The chips of `npu-smi info`: {model, health, busy, memory_mb}. Two rows a chip, whatever the widths; processes
    follow behind `Process id`. `memory_mb` is the last `used/total` of the second row, which is the HBM."""
    chips: list[dict[str, Any]] = []
    first: tuple[str, str, str] | None = None
    head, _, processes = out.partition("Process id")
    for line in map(str.strip, head.splitlines()):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) < 3:
            continue
        if first is None:
            words = cells[0].split()
            if not words or not words[0].isdecimal():
                continue
            name, health = (words[1], cells[1]) if len(words) > 1 else (cells[1], cells[2])
            first = (words[0], name, health)
        else:
            pairs = re.findall(r"\d+\s*/\s*(\d+)", cells[-1])
            chip = (cells[0].split() or ["0"])[0]
            chips.append({"npu": first[0], "chip": chip, "model": first[1], "health": first[2],
                          "memory_mb": int(pairs[-1]) if pairs else None})  # fmt: skip
            first = None
    busy = _busy(processes)
    if not chips:
        raise ValueError(
            next((line for line in lines(out) if not line.startswith(("+", "|"))), "no device in the table")
        )
    return [
        {"model": c["model"], "health": c["health"], "busy": (c["npu"], c["chip"]) in busy, "memory_mb": c["memory_mb"]}
        for c in chips
    ]


def _busy(processes: str) -> set[tuple[str, str]]:
    busy = set()
    for line in processes.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        ids = cells[0].split()
        if len(cells) >= 3 and len(ids) == 2 and all(word.isdecimal() for word in ids) and cells[1].isdecimal():
            busy.add((ids[0], ids[1]))
    return busy


def npu_map(out: str) -> list[str]:
    """`npu-smi info -m`: the chip names, without the management unit. Raises ValueError without a chip."""
    rows = [re.split(r"\s{2,}|\t+", line) for line in lines(out)]
    names = [row[3] for row in rows if len(row) >= 4 and row[0].isdecimal() and row[2].isdecimal()]
    if not names:
        raise ValueError("no chip in the map")
    return names


def board(out: str) -> dict[str, str]:
    """`npu-smi info -t board -i N`: {firmware, software, compatibility}."""
    values = key_values(out, ":")
    return {
        "firmware": one_of(values, "Firmware Version"),
        "software": values.get("Software Version", ""),
        "compatibility": values.get("Compatibility", ""),
    }


def upgrade_tool(out: str) -> dict[str, str]:
    """`upgrade-tool --component -1 --version`: `device component` -> flashed version."""
    found = {
        f"{m[1]} {m[2]}": m[3] for m in re.finditer(r'"device_id":(\d+), "component":(\w+), "version":([\w.]+)', out)
    }
    if not found:
        raise ValueError("no component version")
    return found


def hccn_conf(out: str) -> dict[str, dict[str, str]]:
    """`/etc/hccn.conf`: device -> {address, netmask, gateway, tls}."""
    names = {"address": "address", "netmask": "netmask", "gateway": "gateway", "tls_enable": "tls"}
    found: dict[str, dict[str, str]] = {}
    for key, value in key_values(out).items():
        match = re.fullmatch(r"(address|netmask|gateway|tls_enable)_(\d+)", key)
        if match:
            found.setdefault(match[2], {})[names[match[1]]] = value
    if not found:
        raise ValueError("no address_N line")
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


SILENT = "no answer"


def by_npu(out: str, parse: Callable[[str], list[Any]]) -> dict[str, Any]:
    """Answers that were asked for one NPU after the other, each behind a line `NPU N`: N -> the parser's first entry,
    SILENT where it finds none. `none` is no NPU."""
    if out.strip() in ("", "none"):
        return {}
    found: dict[str, Any] = {}
    for part in re.split(r"^NPU (?=\d+$)", out, flags=re.MULTILINE)[1:]:
        number, _, answer = part.partition("\n")
        try:
            found[number] = parse(answer)[0]
        except ValueError:
            found[number] = SILENT
    if not found:
        raise ValueError(out.strip().splitlines()[-1])
    return found


def hccn_addresses(out: str) -> list[str]:
    """`hccn_tool -i N -ip -g`, one device or several one after the other: the addresses."""
    found = re.findall(r"^\s*ipaddr:([\d.]+)\s*$", out, re.MULTILINE)
    if not found:
        raise ValueError("no ipaddr line")
    return found


def hccn_links(out: str) -> list[str]:
    """`hccn_tool -i N -link -g`: UP or DOWN, a device each."""
    return _said(r"^\s*link status:\s*(\w+)", out, "link status")


def hccn_health(out: str) -> list[str]:
    """`hccn_tool -i N -net_health -g`: Success, Fault, Init, ... a device each. `Init`: detection is not set up."""
    return _said(r"^\s*net health status:\s*(.+?)\s*$", out, "net health status")


def hccn_tls(out: str) -> list[str]:
    """`hccn_tool -i N -tls -g`: the switch, `0` or `1`, a device each."""
    return _said(r"tls switch\[(\d)\]", out, "tls switch")


def hccn_gateways(out: str) -> list[str]:
    """`hccn_tool -i N -gateway -g`: the gateways."""
    return _said(r"^\s*default gateway:([\d.]+)", out, "default gateway")


def hccn_neighbours(out: str) -> list[str]:
    """`hccn_tool -i N -lldp -g`: the switch's port that each device hangs on."""
    return _said(r"^\s*Ifname:\s*(\S+)", out, "Ifname")


def hccn_ping(out: str) -> float:
    """`hccn_tool -i N -ping -g address PEER`: the share of packets lost, in percent."""
    return float(_said(r"([\d.]+)% packet loss", out, "packet loss")[-1])


def ecc(out: str) -> dict[str, int]:
    """`npu-smi info -t ecc -i N`: double bit and uncorrectable counts by name."""
    counts = {
        key: int(value)
        for key, value in key_values(out, ":").items()
        if value.isdecimal() and re.search(r"double bit|uncorrect", key, re.IGNORECASE)
    }
    if not counts:
        raise ValueError("no ECC count")
    return counts


def hccl_error(out: str) -> str:
    """The code of a HCCL error in a log, such as EI0006."""
    return _said(r"\(?\b(E[A-Z]\d{4})\b\)?", out, "HCCL error")[0]


def _said(pattern: str, out: str, what: str) -> list[str]:
    found = re.findall(pattern, out, re.MULTILINE)
    if not found:
        raise ValueError(f"no {what} line")
    return found
