"""Every Linux machine: addresses, names, space, memory, limits, clocks, hardware that is not an accelerator."""

from __future__ import annotations

import json
import re
from typing import Any

from llmctl.checks.parsers.text import key_values, lines, one_of, text


def addresses(out: str) -> list[dict[str, Any]]:
    """`ip -j addr`: IPv4 addresses with their interface, whether it is up, its prefix length and MTU."""
    try:
        return [
            {
                "interface": str(link["ifname"]),
                "address": str(address["local"]),
                "prefix": int(address["prefixlen"]),
                "up": "UP" in link["flags"] and "NO-CARRIER" not in link["flags"],
                "mtu": link.get("mtu"),
            }
            for link in json.loads(out)
            for address in link.get("addr_info", [])
            if address["family"] == "inet"
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not what `ip -j addr` says: {error}") from None


def resolved(out: str) -> list[str]:
    """`getent ahostsv4 NAME` or `getent hosts NAME`: its addresses, each once, in order."""
    return list(dict.fromkeys(line.split()[0] for line in lines(out)))


def hosts_file(out: str) -> dict[str, list[str]]:
    """`/etc/hosts`: name -> its addresses in order."""
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        words = line.partition("#")[0].split()
        for name in words[1:]:
            if words[0] not in found.setdefault(name, []):
                found[name].append(words[0])
    if not found:
        raise ValueError("no line with an address and a name")
    return found


def free_space(out: str) -> dict[str, int]:
    """`df -PB1 PATH`, and `df -Pi PATH` behind it: {size, free} in bytes and {inodes, inodes_free} where the file
    system counts them. Any order of columns: the header tells."""
    head: list[str] = []
    found: dict[str, int] = {}
    names = {"1-blocks": "size", "1B-blocks": "size", "Available": "free", "Avail": "free", "Inodes": "inodes",
             "IFree": "inodes_free"}  # fmt: skip
    for line in lines(out):
        words = line.split()
        if words[0] == "Filesystem":
            head = line.replace("Mounted on", "Mounted").split()
            continue
        if len(words) >= len(head) > 0:
            cells = dict(zip(head, words, strict=False))
            found |= {names[key]: int(cell) for key, cell in cells.items() if key in names and cell.isdecimal()}
    if "size" not in found or "free" not in found:
        raise ValueError("not what `df -PB1` says")
    return found


def written(out: str) -> dict[str, Any]:
    """{folder, error}: why no file can be written there, None where one was."""
    told = json.loads(out)
    return {"folder": str(told["folder"]), "error": told["error"]}


def memory(out: str) -> dict[str, int]:
    """`/proc/meminfo`, and of the control group `limit N`, `used N` and `inactive_file N` behind it: {total, available,
    swap} in bytes, where there is a limit {limit} and {used} without page cache that is given back."""
    values = {m[1]: int(m[2]) * 1024 for m in re.finditer(r"^(\w+):\s+(\d+) kB", out, re.MULTILINE)}
    limit = re.search(r"^limit (\d+)$", out, re.MULTILINE)
    try:
        found = {"total": values["MemTotal"], "available": values["MemAvailable"], "swap": values.get("SwapFree", 0)}
    except KeyError as error:
        raise ValueError(f"no {error.args[0]} in /proc/meminfo") from None
    if not limit or int(limit[1]) >= found["total"]:
        return found
    used, cache = (re.search(rf"^{name} (\d+)$", out, re.MULTILINE) for name in ("used", "(?:total_)?inactive_file"))
    held = max(0, int(used[1]) - (int(cache[1]) if cache else 0)) if used else 0
    return found | {"limit": int(limit[1]), "used": held}


def limits(out: str) -> dict[str, int | None]:
    """`ulimit -l; ulimit -n`: kilobytes of locked memory and open files; None is unlimited."""
    told = lines(out)
    if len(told) != 2:
        raise ValueError("not two limits")
    locked, files = (None if value == "unlimited" else int(value) for value in told)
    return {"locked_kb": locked, "open_files": files}


def all_limits(out: str) -> dict[str, str]:
    """`ulimit -a`: name -> value."""
    found = {m[1].strip(): m[2] for m in re.finditer(r"^(.+?)\s*\([^)]*-\w\)\s+(\S+)$", out, re.MULTILINE)}
    if not found:
        raise ValueError("not what `ulimit -a` says")
    return found


def os_release(out: str) -> str:
    """`/etc/os-release`: the pretty name."""
    return one_of(key_values(out), "PRETTY_NAME", "NAME")


def glibc(out: str) -> str:
    """`getconf GNU_LIBC_VERSION`, or the first line of `ldd --version`: the version of the C library."""
    match = re.search(r"(?:glibc |GLIBC [^)]*\)\s*|libc\) )(\d+\.\d+)", out)
    if match is None:
        raise ValueError("not a version of the GNU C library")
    return match[1]


def kernel(out: str) -> dict[str, str]:
    """`uname -srvm` or `uname -a`: {release, arch}."""
    words = text(out).split()
    arch = [word for word in words if re.fullmatch(r"x86_64|aarch64|arm64|ppc64le|riscv64|loongarch64", word)]
    if len(words) < 3 or words[0] != "Linux" or not arch:
        raise ValueError("not what `uname` says of Linux")
    return {"release": words[1] if re.match(r"\d", words[1]) else words[2], "arch": arch[0]}


def boot_id(out: str) -> str:
    """`/proc/sys/kernel/random/boot_id`: another one means that the node was started again."""
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text(out)):
        raise ValueError("not a boot id")
    return text(out)


def synchronised(out: str) -> bool:
    """`timedatectl show -p NTPSynchronized`: whether the clock is kept by a time service."""
    match = re.search(r"^NTPSynchronized=(yes|no)$", out, re.MULTILINE)
    if match is None:
        raise ValueError(text(out))
    return match[1] == "yes"


def traffic(out: str) -> dict[str, dict[str, int]]:
    """`/proc/net/dev`: interface -> {received, sent} bytes and {errors, dropped} of both ways."""
    found = {}
    for line in lines(out):
        name, colon, rest = line.partition(":")
        cells = rest.split()
        if colon and len(cells) >= 12 and all(cell.isdecimal() for cell in cells[:12]):
            told = [int(cell) for cell in cells]
            found[name.strip()] = {
                "received": told[0], "sent": told[8], "errors": told[2] + told[10], "dropped": told[3] + told[11],
            }  # fmt: skip
    if not found:
        raise ValueError("not what /proc/net/dev says")
    return found


def listening(out: str) -> list[int]:
    """`/proc/net/tcp` and `tcp6`: the ports that something listens on."""
    rows = re.findall(r"^\s*\d+:\s+[0-9A-F]+:([0-9A-F]{4})\s+\S+\s+0A\b", out, re.MULTILINE)
    if not rows and "local_address" not in out:
        raise ValueError("not what /proc/net/tcp says")
    return sorted({int(port, 16) for port in rows})


def infiniband(out: str) -> dict[str, str]:
    """`grep . */ports/*/{state,rate}` in `/sys/class/infiniband`: `device/port` -> `STATE, rate`."""
    found: dict[str, dict[str, str]] = {}
    for line in lines(out):
        match = re.match(r"([^/]+)/ports/(\d+)/(state|rate):(?:\d+: )?(.+)$", line)
        if match:
            found.setdefault(f"{match[1]}/{match[2]}", {})[match[3]] = match[4].strip()
    return {port: f"{told.get('state', '?')}, {told.get('rate', '?')}" for port, told in sorted(found.items())}


def tuning(out: str) -> dict[str, str]:
    """`NAME VALUE` lines of our own: NUMA nodes, transparent huge pages (the chosen one), huge pages, governor."""
    found = {}
    for line in lines(out):
        name, _, value = line.partition(" ")
        chosen = re.search(r"\[(\w+)\]", value)
        found[name] = chosen[1] if chosen else value.strip()
    if not found:
        raise ValueError("no output")
    return found


def container(out: str) -> str:
    """`docker`, `podman`, `apptainer`, `kubernetes` or `none`, from the marks that runtimes leave."""
    for mark, name in (("kubepods", "kubernetes"), (".dockerenv", "docker"), ("docker", "docker"),
                       (".containerenv", "podman"), ("libpod", "podman"), ("apptainer", "apptainer"),
                       ("singularity", "apptainer"), ("lxc", "lxc")):  # fmt: skip
        if mark in out.lower():
            return name
    return "none"


def runs(out: str) -> dict[str, int]:
    """`LLMCTL_RUN_ID=ID` lines, one a process: run id -> processes."""
    found: dict[str, int] = {}
    for line in lines(out):
        name, _, run = line.partition("=")
        if name == "LLMCTL_RUN_ID" and run:
            found[run] = found.get(run, 0) + 1
    return found


def sshd(out: str) -> dict[str, str]:
    """`sshd -T`: {maxsessions, maxstartups}."""
    values = {m[1]: m[2] for m in re.finditer(r"^(maxsessions|maxstartups) (\S+)$", out, re.MULTILINE)}
    if len(values) != 2:
        raise ValueError("no maxsessions and maxstartups")
    return values


def place(out: str) -> dict[str, str]:
    """`stat -c '%i %z'` and `stat -f -c %T` of a folder: {type, mark}. The same mark on two nodes, on a file system
    that can be shared, is the same folder."""
    told = lines(out)
    if len(told) != 2 or not told[0].split()[0].isdecimal():
        raise ValueError("not what stat says")
    return {"type": told[1], "mark": told[0]}


def pdsh(out: str) -> dict[str, Any]:
    """`pdsh -V`: {version, ssh: whether it can use ssh, default: what it uses when nothing is said}."""
    version = re.search(r"pdsh-(\d+\.\d+)", out)
    modules = re.search(r"rcmd modules: (.*)", out)
    if version is None:
        raise ValueError("not what `pdsh -V` says")
    listed = modules[1] if modules else ""
    default = re.search(r"default: (\w+)", listed)
    return {
        "version": version[1],
        "ssh": "ssh" in re.split(r"[ ,()]+", listed.partition("(default")[0]),
        "default": default[1] if default else "",
    }
