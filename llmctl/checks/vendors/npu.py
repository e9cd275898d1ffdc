"""Ascend NPUs: npu-smi, driver, firmware, CANN and its operator package, the NPUs' own network."""

from __future__ import annotations

from functools import partial
from typing import Any

from llmctl.checks import compat, ports
from llmctl.checks.facts import Severity
from llmctl.checks.parsers import ascend, host
from llmctl.checks.parsers.text import text
from llmctl.checks.rows import Complaint, Row, Wanted, file_or_none, first_file, or_none
from llmctl.checks.vendors.vendor import Vendor, counts_none, device_rows

_TOOLKITS = (
    '"$ASCEND_HOME_PATH" "$ASCEND_TOOLKIT_HOME" /usr/local/Ascend/cann '
    '/usr/local/Ascend/ascend-toolkit/latest "$HOME"/Ascend/ascend-toolkit/latest'
)
_PATH = 'PATH="$PATH:/usr/local/bin:/usr/local/sbin:/usr/local/Ascend/driver/tools"'
_DRIVER_FILE = (
    '"$(sed -n s/^Driver_Install_Path_Param=//p /etc/ascend_install.info 2>/dev/null)"/driver/version.info',
    "/usr/local/Ascend/driver/version.info",
    "/usr/local/npu/driver/version.info",
)
_HAS_SMI = "command -v npu-smi >/dev/null || { echo none; exit; }"
_FIRST_NPU = "npu-smi info -m | awk '$1 ~ /^[0-9]+$/ {print $1; exit}'"
_NPUS = "npu-smi info -m | awk '$1 ~ /^[0-9]+$/ {print $1}' | sort -nu"
_EACH_NIC = "sed -n 's/^address_\\([0-9]*\\)=.*/\\1/p' /etc/hccn.conf 2>/dev/null | sort -n"
_INFO = "*-linux/ascend_toolkit_install.info"


def _below_toolkit(*names: str) -> str:
    """The first of these files below the CANN that counts: the first place with a toolkit of its own variables, the
    layout of 8.5 and newer, the older one, a user's own."""
    tries = " ".join(f'"$d"/{name}' for name in names)
    here = f'for f in "$d"/{_INFO}; do [ -r "$f" ] && break; done; [ -r "$f" ] || continue'
    found = f'for f in {tries}; do [ -r "$f" ] && {{ cat "$f"; exit; }}; done; echo "$d has no {names[-1]}" >&2; exit 1'
    return (
        f'for d in {_TOOLKITS}; do [ -n "$d" ] || continue; {here}; {found}; done; echo "no CANN toolkit" >&2; exit 1'
    )


def _of_each_chip(question: str) -> str:
    """hccn_tool's answer for every NPU with a network, one after the other; `none` where there is no such thing."""
    each = f'for i in $n; do echo "NPU $i"; hccn_tool -i $i {question} -g 2>&1; done'
    return (
        f'{_PATH}; n=$({_EACH_NIC}); [ -n "$n" ] && command -v hccn_tool >/dev/null || {{ echo none; exit; }}; {each}'
    )


def _same_release(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    running = {name: release for name, release in value.items() if not name.endswith(" installed")}
    releases = sorted(set(running.values()))
    if releases[1:]:
        return Severity.ERROR, f"CANN's components are of {', '.join(releases)}: a half upgrade"
    behind = sorted(n for n, release in running.items() if value.get(f"{n} installed", release) != release)
    return (Severity.WARNING, f"installed but not running: {', '.join(behind)}") if behind else None


def _fits_toolkit(value: Any, _node: str, wanted: Wanted) -> Complaint:
    toolkit = wanted.facts.get("toolkit.version")
    if toolkit is None or value == toolkit:
        return None
    return Severity.ERROR, f"the operator package is of {value}, the toolkit of {toolkit}"


def _flashed(value: Any, _node: str, wanted: Wanted) -> Complaint:
    if value == "none":
        return None
    if value["compatibility"] not in ("", "OK", "NA", "N/A", "UNKNOWN"):
        return Severity.ERROR, f"npu-smi calls driver and firmware {value['compatibility']}"
    package = wanted.facts.get("firmware.version")
    if package and value["firmware"][:1].isdigit() and package != value["firmware"]:
        return Severity.WARNING, f"firmware {value['firmware']} is flashed, the package is {package}"
    return None


def _links(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    down = [chip for chip, state in value.items() if state not in ("UP", ascend.SILENT)]
    return (Severity.ERROR, f"the network of NPU {', '.join(down)} is down") if down else None


def _net_health(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    ill = [f"{chip} ({state})" for chip, state in value.items() if state not in ("Success", "Init", ascend.SILENT)]
    return (Severity.WARNING, f"the network of NPU {', '.join(ill)} is not well") if ill else None


def _tls(out: str) -> str:
    """One value when all NPUs have the same switch, else each of them."""
    switches = [device["tls"] for device in ascend.hccn_conf(out).values() if "tls" in device]
    if not switches:
        return "none"
    return switches[0] if len(set(switches)) == 1 else ", ".join(switches)


def _ecc(out: str) -> dict[str, int]:
    told = ascend.by_npu(out, lambda part: [ascend.ecc(part)])
    counted = {npu: counts for npu, counts in told.items() if counts != ascend.SILENT}
    if told and not counted:
        raise ValueError("no ECC count")
    return {f"NPU {npu} {name}": count for npu, counts in counted.items() for name, count in counts.items()}


def _one_switch(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    return (Severity.ERROR, f"the NPUs' TLS switches differ: {value}") if "," in value else None


def _base_ports(value: Any, _node: str, wanted: Wanted) -> Complaint:
    wants = ports.hccl_ports(wanted.facts.get("environment.effective") or wanted.variables)
    taken = [str(port) for port in value if port in wants]
    return (Severity.WARNING, f"ports that HCCL wants are in use: {', '.join(taken)}") if taken else None


VENDOR = Vendor(
    name="npu",
    title="Ascend NPU",
    present=(
        "[ -e /dev/davinci0 ] || [ -e /usr/local/Ascend/driver/version.info ] || [ -e /etc/ascend_install.info ]"
    ),
    variables=("ASCEND_", "HCCL_", "PYTORCH_NPU_", "TASK_QUEUE_", "CPU_AFFINITY_CONF", "COMBINED_ENABLE"),
    rows=(
        *device_rows(f"{_PATH}; npu-smi info", ascend.npu_smi, "`npu-smi info`"),
        Row(
            name="driver.version", run=first_file(*_DRIVER_FILE), parse=ascend.driver_version,
            source="`driver/version.info` at the place that `/etc/ascend_install.info` names, `/usr/local/Ascend`, "
            "`/usr/local/npu`",
            why="operators and HCCL fail with errors that do not name the driver",
            remedy="install the same driver package on all nodes",
        ),
        Row(
            name="driver.declared", run=first_file(*_DRIVER_FILE), parse=ascend.driver, mode="told",
            severity=Severity.INFO, source="the same file: its generation and the firmware that it works with",
            why="for `compat.firmware` and `compat.driver_cann`",
        ),
        Row(
            name="firmware.version", parse=ascend.firmware, severity=Severity.WARNING, optional=True,
            run=first_file("/usr/local/Ascend/firmware/version.info", "/usr/local/npu/firmware/version.info"),
            source="`firmware/version.info`", why="nodes behave differently under one driver",
            remedy="install the same firmware package on all nodes",
        ),
        Row(
            name="firmware.flashed", mode="ok", judge=_flashed, optional=True,
            also=("firmware.version",),
            run=f'{_PATH}; {_HAS_SMI}; n=$({_FIRST_NPU}); '
            'npu-smi info -t board -i "${n:-0}"',
            parse=or_none(ascend.board),
            source="`npu-smi info -t board` of the first NPU", why="the package was installed and never flashed",
            remedy="flash the firmware package (its --full or --upgrade), then reboot",
        ),
        Row(
            name="toolkit.version", env=True, parse=ascend.toolkit, run=_below_toolkit(_INFO), needed=True,
            source="`ascend_toolkit_install.info` below the places where CANN can lie",
            why="operators are compiled differently, or not found",
            remedy="install the same CANN toolkit on all nodes, or source the same set_env.sh in cluster.activate",
        ),
        Row(
            name="toolkit.declared", env=True, parse=ascend.toolkit_drivers, run=_below_toolkit(_INFO), mode="told",
            severity=Severity.INFO, source="the same file: the driver generations that it works with",
            why="for `compat.driver_cann`",
        ),
        Row(
            name="toolkit.components", env=True, mode="ok", judge=_same_release, parse=ascend.components,
            run=_below_toolkit("version.cfg"), source="`version.cfg`: what runs and what is installed",
            why="a half upgrade: the compiler does not fit the operators", remedy="finish the upgrade of CANN",
        ),
        Row(
            name="toolkit.activation", env=True, severity=Severity.WARNING,
            run=f'for d in {_TOOLKITS}; do for f in "$d"/set_env.sh "$d"/../set_env.sh; do '
            '[ -n "$d" ] && [ -r "$f" ] && { sha256sum < "$f"; exit; }; done; done; echo none',
            parse=lambda out: text(out)[:16], source="SHA-256 of CANN's `set_env.sh`, which is never run for this",
            why="an edited set_env.sh gives one node other paths", remedy="diff the set_env.sh of the nodes",
        ),
        Row(
            name="kernels.version", env=True, parse=ascend.package_release, judge=_fits_toolkit, needed=True,
            also=("toolkit.version",),
            run=_below_toolkit("*-linux/ascend_ops_install.info", "opp_kernel/version.info"),
            source="`ascend_ops_install.info`, `opp_kernel/version.info`",
            why="without the operator package of this release operators are missing at run time",
            remedy="install the operator package (kernels) of the toolkit's release",
        ),
        Row(
            name="atb.version", parse=or_none(ascend.atb), severity=Severity.WARNING,
            run=file_or_none("/usr/local/Ascend/nnal/atb/latest/version.info"),
            source="`nnal/atb/latest/version.info`, where it is installed", why="attention kernels differ",
            remedy="install the same NNAL package on all nodes, or on none",
        ),
        Row(
            name="nic.addresses", mode="distinct", run=file_or_none("/etc/hccn.conf"),
            parse=lambda out: [] if out.strip() == "none"
            else [device["address"] for device in ascend.hccn_conf(out).values() if "address" in device],
            source="`/etc/hccn.conf`: `address_N`", why="two NPUs with one address: HCCL waits until its time is up",
            remedy="give every NPU of the cluster its own address: hccn_tool -i N -ip -s address ...",
        ),
        Row(
            name="nic.tls", run=file_or_none("/etc/hccn.conf"), parse=or_none(_tls), judge=_one_switch,
            source="`/etc/hccn.conf`: `tls_enable_N`", why="EI0006, getting socket times out",
            remedy="set the same switch on every NPU: hccn_tool -i N -tls -s enable 0",
        ),
        Row(
            name="nic.links", mode="ok", run=_of_each_chip("-link"),
            parse=partial(ascend.by_npu, parse=ascend.hccn_links), judge=_links,
            optional=True, source="`hccn_tool -i N -link -g`", why="HCCL waits until its time is up",
            remedy="look at cable and switch port: hccn_tool -i N -lldp -g",
        ),
        Row(
            name="nic.health", mode="ok", run=_of_each_chip("-net_health"),
            parse=partial(ascend.by_npu, parse=ascend.hccn_health),
            judge=_net_health, severity=Severity.WARNING, optional=True, source="`hccn_tool -i N -net_health -g`",
            why="collectives are slow or stop", remedy="hccn_tool -i N -netdetect -g names what is pinged",
        ),
        Row(
            name="hccl.ports", mode="ok",
            run="cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; true", parse=host.listening,
            judge=_base_ports, also=("environment.effective",), severity=Severity.WARNING,
            source="`/proc/net/tcp`, `/proc/net/tcp6`",
            why="EJ0003, failed to bind the port",
            remedy="see who listens: ss -ltnp; or set HCCL_IF_BASE_PORT in cluster.env, and keep those ports free with "
            "net.ipv4.ip_local_reserved_ports",
        ),
        Row(
            name="hccl.reserved", mode="ok", run=ports.READ, parse=ports.ephemeral, judge=ports.judge_reserved,
            also=("environment.effective",),
            severity=Severity.WARNING, source="`ip_local_port_range`, `ip_local_reserved_ports`",
            why="EJ0003 at times: the system gave one of HCCL's ports to an outgoing connection",
            remedy="sysctl -w net.ipv4.ip_local_reserved_ports=60000-60015, and the same in /etc/sysctl.d",
        ),
        Row(
            name="accelerator.errors", mode="ok", severity=Severity.WARNING, optional=True,
            judge=counts_none("ECC errors"),
            run=f"{_PATH}; {_HAS_SMI}; for i in $({_NPUS}); do echo NPU $i; npu-smi info -t ecc -i $i; done",
            parse=_ecc,
            source="`npu-smi info -t ecc`: double bit errors", why="memory of that NPU is failing",
            remedy="see npu-smi info -t ecc -i N; the vendor replaces such a card",
        ),
    ),
    rules=(compat.TORCH_NPU, compat.CANN, compat.FIRMWARE, compat.DRIVER_CANN),
)  # fmt: skip
