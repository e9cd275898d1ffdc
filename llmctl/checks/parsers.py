"""What tools and version files say, as values. Pure; each raises ValueError for text that is not its tool's.

Layouts and their sources: docs/checks.md."""

from __future__ import annotations

import csv
import json
import re
from typing import Any


def text(out: str) -> str:
    """The first line. Raises ValueError when there is none."""
    lines = out.strip().splitlines()
    if not lines:
        raise ValueError("no output")
    return lines[0].strip()


def lines(out: str) -> list[str]:
    """All lines that are not blank."""
    return [line.strip() for line in out.splitlines() if line.strip()]


def number(out: str) -> int:
    """A whole number."""
    return int(text(out))


def key_values(out: str, separator: str = "=") -> dict[str, str]:
    """`key=value` lines; `#` starts a comment. Raises ValueError when a key has two values, or none is there."""
    found: dict[str, str] = {}
    for line in out.splitlines():
        key, sign, value = line.partition(separator)
        key, value = key.strip(), value.strip().strip('"')
        if not sign or key.startswith("#"):
            continue
        if found.setdefault(key, value) != value:
            raise ValueError(f"{key} stands twice: {found[key]} and {value}")
    if not found:
        raise ValueError("no key=value line")
    return found


def _one_of(values: dict[str, str], *keys: str) -> str:
    for key in keys:
        if values.get(key):
            return values[key]
    raise ValueError(f"no {' or '.join(keys)}")


def ascend_driver(out: str) -> str:
    """The driver's `version.info`: `package_version`, which 24.1.rc1 does not have yet, else `Version`."""
    return _one_of(key_values(out), "package_version", "Version")


def ascend_firmware(out: str) -> str:
    """The firmware's `version.info`: `Version`, which is what is flashed; its package has a number of its own."""
    return _one_of(key_values(out), "Version")


def ascend_toolkit(out: str) -> str:
    """`ascend_toolkit_install.info`: exactly the key `version`, which `innerversion` is not."""
    return _one_of(key_values(out), "version")


def ascend_kernels(out: str) -> str:
    """The release that the operator package is of: `version_dir`, in the newer layout `version`."""
    return _one_of(key_values(out), "version_dir", "version")


_COMPONENT = re.compile(r"^(\w+?)_(running|upgrade|installed)_version=\[([^:\]]*):([^\]]*)\]", re.MULTILINE)


def ascend_components(out: str) -> dict[str, str]:
    """`version.cfg`: component -> the release that runs. Raises ValueError without such lines."""
    found = {m[1]: m[4] for m in _COMPONENT.finditer(out) if m[2] == "running"}
    if not found:
        raise ValueError("no component_running_version line")
    return found


def npu_smi(out: str) -> list[dict[str, Any]]:
    """The chips of `npu-smi info`: {model, health, busy}. Two rows a chip, whatever the widths; processes follow
    behind `Process id`."""
    chips: list[dict[str, Any]] = []
    busy: set[tuple[str, str]] = set()
    first: tuple[str, str, str] | None = None
    table, _, processes = out.partition("Process id")
    for line in map(str.strip, table.splitlines()):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) < 3:
            continue
        if first is None:
            head = cells[0].split()
            if not head or not head[0].isdigit():
                continue
            name, health = (head[1], cells[1]) if len(head) > 1 else (cells[1], cells[2])
            first = (head[0], name, health)
        else:
            chip = (cells[0].split() or ["0"])[0]
            chips.append({"npu": first[0], "chip": chip, "model": first[1], "health": first[2]})
            first = None
    for line in processes.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        ids = cells[0].split()
        if len(cells) >= 3 and len(ids) == 2 and all(word.isdigit() for word in ids) and cells[1].isdigit():
            busy.add((ids[0], ids[1]))
    if not chips:
        raise ValueError(
            next((line for line in lines(out) if not line.startswith(("+", "|"))), "no device in the table")
        )
    return [{"model": c["model"], "health": c["health"], "busy": (c["npu"], c["chip"]) in busy} for c in chips]


def nvidia_gpus(out: str) -> list[dict[str, Any]]:
    """`nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used ... --format=csv[,noheader,nounits]`, with
    a header line: {model, driver, busy} a GPU. Busy: more than 1 GiB in use."""
    rows = list(csv.reader(out.strip().splitlines(), skipinitialspace=True))
    heads = [head.split(" [")[0] for head in rows[0]] if rows else []
    if "name" not in heads:
        raise ValueError(text(out) if out.strip() else "no output")
    gpus = []
    for row in rows[1:]:
        values = dict(zip(heads, row, strict=False))
        used = re.match(r"\d+", values.get("memory.used", ""))
        gpus.append(
            {
                "model": values["name"],
                "driver": values.get("driver_version"),
                "busy": used is not None and int(used[0]) > 1024,
                "health": "OK",
            }
        )
    if not gpus:
        raise ValueError("no GPU in the table")
    return gpus


def nvidia_driver(out: str) -> str:
    """`/proc/driver/nvidia/version`."""
    match = re.search(r"Kernel Module(?: for \S+)?\s+(\d+\.\d+(?:\.\d+)?)", out)
    if match is None:
        raise ValueError("no NVRM version line")
    return match[1]


def nvcc(out: str) -> str:
    """`nvcc --version`: the release, for example 12.4."""
    match = re.search(r"release (\d+\.\d+)", out)
    if match is None:
        raise ValueError("no release in what nvcc says")
    return match[1]


def bm_smi(out: str) -> list[dict[str, Any]]:
    """`bm-smi --text_format`: one line a chip; health is `Active` or `Fault`."""
    chips = []
    for line in lines(out):
        match = re.match(r"(\S+)\s+(?:PCIE|SOC)\s+chip\d+:\s+\d+\s+\S+\s+(Active|Fault)\b", line)
        if match:
            used = re.search(r"(\d+)MB\s+\d+MB\s*$", line)
            chips.append({"model": match[1], "health": "OK" if match[2] == "Active" else "Fault",
                          "busy": used is not None and int(used[1]) > 1024})  # fmt: skip
    if not chips:
        raise ValueError("no chip in what bm-smi says")
    return chips


def sophgo_driver(out: str) -> str:
    """`/proc/bmsophon/driver_version`: `release version:X.Y.Z   release date: ...`."""
    match = re.search(r"release version:\s*(\d+\.\d+\.\d+)", out)
    if match is None:
        raise ValueError("no release version")
    return match[1]


def sophon_library(out: str) -> str:
    """The place that `/opt/sophon/libsophon-current` points to: `.../libsophon-X.Y.Z`."""
    match = re.search(r"libsophon-(\d+\.\d+\.\d+)", out)
    if match is None:
        raise ValueError("no libsophon-X.Y.Z")
    return match[1]


def addresses(out: str) -> list[dict[str, Any]]:
    """`ip -j addr`: IPv4 addresses with their interface, whether it is up, and its prefix length."""
    try:
        links = json.loads(out)
        return [
            {
                "interface": link["ifname"],
                "address": address["local"],
                "prefix": address["prefixlen"],
                "up": "UP" in link["flags"],
            }
            for link in links
            for address in link.get("addr_info", [])
            if address["family"] == "inet"
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not what `ip -j addr` says: {error}") from None


def resolved(out: str) -> list[str]:
    """`getent ahostsv4 NAME`: its addresses, each once, in order."""
    return list(dict.fromkeys(line.split()[0] for line in lines(out)))


def free_space(out: str) -> dict[str, int]:
    """`df -PB1 PATH`: {size, free} in bytes."""
    cells = lines(out)[-1].split()
    if len(cells) < 6 or not cells[1].isdigit():
        raise ValueError("not what `df -PB1` says")
    return {"size": int(cells[1]), "free": int(cells[3])}


def file_digests(out: str) -> dict[str, str]:
    """`DIGEST  PATH` lines: path -> digest, for large files `size:BYTES`."""
    return {path.strip(): digest for digest, _, path in (line.partition("  ") for line in lines(out))}


def limits(out: str) -> dict[str, int | None]:
    """`ulimit -l; ulimit -n`: kilobytes of locked memory and open files; None is unlimited."""
    told = lines(out)
    if len(told) != 2:
        raise ValueError("not two limits")
    memory, files = (None if value == "unlimited" else int(value) for value in told)
    return {"locked_kb": memory, "open_files": files}


def os_release(out: str) -> str:
    """`/etc/os-release`: the pretty name."""
    return _one_of(key_values(out), "PRETTY_NAME", "NAME")


def pdsh(out: str) -> dict[str, Any]:
    """`pdsh -V`: {version, ssh: whether it can use ssh}."""
    version = re.search(r"pdsh-(\d+\.\d+)", out)
    modules = re.search(r"rcmd modules: (.*)", out)
    if version is None:
        raise ValueError("not what `pdsh -V` says")
    return {"version": version[1], "ssh": modules is not None and "ssh" in re.split(r"[ ,]+", modules[1])}


def conda_packages(out: str) -> dict[str, str]:
    """File names of `conda-meta`: NAME-VERSION-BUILD.json -> {name: "version build"}."""
    found = {}
    for line in lines(out):
        name, _, rest = line.removesuffix(".json").rpartition("-")
        name, dash, version = name.rpartition("-")
        if line.endswith(".json") and dash:
            found[name] = f"{version} {rest}"
    return found
