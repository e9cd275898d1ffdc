"""The rows of each kind of device: one table a vendor."""

from __future__ import annotations

from typing import Any

from llmctl.checks import parsers
from llmctl.checks.facts import Severity
from llmctl.checks.rows import Complaint, Row, Wanted, first_file, major_differs

_TOOLKITS = (
    '"$ASCEND_HOME_PATH" "$ASCEND_TOOLKIT_HOME" /usr/local/Ascend/cann '
    '/usr/local/Ascend/ascend-toolkit/latest "$HOME"/Ascend/ascend-toolkit/latest'
)
_NPU_SMI = 'PATH="$PATH:/usr/local/bin:/usr/local/sbin:/usr/local/Ascend/driver/tools"; npu-smi info'
_BM_SMI = (
    'PATH="$PATH:/opt/sophon/libsophon-current/bin"; n=$(cat /proc/bmsophon/chip_num) && '
    "bm-smi --start_dev=0 --last_dev=$((n - 1)) --text_format"
)
_QUERY = "nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used --format=csv"


def _below_toolkits(*names: str) -> str:
    """The first of these files below any place where CANN can lie: its own variables, the layout of 8.5 and newer,
    the older one, a user's own."""
    tries = " ".join(f'"$d"/{name}' for name in names)
    found = f'for f in {tries}; do [ -r "$f" ] && {{ cat "$f"; exit; }}; done'
    return f'for d in {_TOOLKITS}; do [ -n "$d" ] || continue; {found}; done; echo "no CANN toolkit" >&2; exit 1'


def _healthy(value: Any, node: str, wanted: Wanted) -> Complaint:
    slots = wanted.slots.get(node)
    if slots is not None and len(value) < slots:
        return Severity.ERROR, f"has {len(value)} of the {slots} devices that the run wants"
    ill = [f"{number} ({device['health']})" for number, device in enumerate(value) if device["health"] != "OK"]
    if ill:
        return Severity.ERROR, f"devices are not well: {', '.join(ill)}"
    busy = [str(number) for number, device in enumerate(value) if device["busy"]]
    return (Severity.WARNING, f"devices {', '.join(busy)} are in use") if busy else None


def _same_release(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    releases = sorted(set(value.values()))
    return (Severity.ERROR, f"CANN's components are of {', '.join(releases)}: a half upgrade") if releases[1:] else None


def _fits_toolkit(value: Any, _node: str, wanted: Wanted) -> Complaint:
    toolkit = wanted.facts.get("toolkit.version")
    if toolkit is None or value == toolkit:
        return None
    return Severity.ERROR, f"the operator package is of {value}, the toolkit of {toolkit}"


def _models(out: str, parse: Any) -> list[str]:
    return [device["model"] for device in parse(out)]


def _device_rows(run: str, parse: Any) -> list[Row]:
    return [
        Row(
            name="accelerator.models", run=run, parse=lambda out: _models(out, parse),
            remedy="nodes of one run need the same number and kind of devices",
        ),
        Row(
            name="accelerator.devices", run=run, parse=parse, mode="ok", judge=_healthy, needed=True,
            remedy="see the vendor's tool on that node; lower cluster.devices_per_node, or end what uses the devices",
        ),
    ]  # fmt: skip


VENDORS: dict[str, tuple[Row, ...]] = {
    "cpu": (),
    "npu": (
        *_device_rows(_NPU_SMI, parsers.npu_smi),
        Row(
            name="driver.version",
            run=first_file(
                '"$(sed -n s/^Driver_Install_Path_Param=//p /etc/ascend_install.info 2>/dev/null)"/driver/version.info',
                "/usr/local/Ascend/driver/version.info",
                "/usr/local/npu/driver/version.info",
            ),
            parse=parsers.ascend_driver,
            remedy="install the same driver package on all nodes",
        ),
        Row(
            name="firmware.version", parse=parsers.ascend_firmware, severity=Severity.WARNING,
            run=first_file("/usr/local/Ascend/firmware/version.info", "/usr/local/npu/firmware/version.info"),
        ),
        Row(
            name="toolkit.version", env=True, parse=parsers.ascend_toolkit,
            run=_below_toolkits("*-linux/ascend_toolkit_install.info"), needed=True,
            remedy="install the same CANN toolkit on all nodes, or source the same set_env.sh in cluster.activate",
        ),
        Row(
            name="toolkit.components", env=True, mode="ok", judge=_same_release, parse=parsers.ascend_components,
            run=_below_toolkits("version.cfg"), remedy="finish the upgrade of CANN",
        ),
        Row(
            name="kernels.version", env=True, parse=parsers.ascend_kernels, judge=_fits_toolkit,
            run=_below_toolkits("*-linux/ascend_ops_install.info", "opp_kernel/version.info"),
            remedy="install the operator package (kernels) of the toolkit's release",
        ),
    ),
    "cuda": (
        *_device_rows(_QUERY, parsers.nvidia_gpus),
        Row(
            name="driver.version", run="cat /proc/driver/nvidia/version", parse=parsers.nvidia_driver,
            grade=major_differs, remedy="install the same driver branch on all nodes",
        ),
        Row(
            name="toolkit.version", env=True, parse=parsers.nvcc, severity=Severity.WARNING,
            run='PATH="$PATH:/usr/local/cuda/bin"; nvcc --version',
        ),
    ),
    "sophgo": (
        *_device_rows(_BM_SMI, parsers.bm_smi),
        Row(
            name="driver.version", run="cat /proc/bmsophon/driver_version", parse=parsers.sophgo_driver,
            remedy="install the same sophon driver on all nodes",
        ),
        Row(
            name="toolkit.version", parse=parsers.sophon_library, run="readlink -f /opt/sophon/libsophon-current",
            remedy="install the same libsophon on all nodes",
        ),
    ),
}  # fmt: skip
"""Rows by `cluster.device`."""

PRESENT = (
    "[ -e /dev/davinci0 ] || [ -e /usr/local/Ascend/driver/version.info ] || [ -e /etc/ascend_install.info ] "
    "&& echo npu; "
    "[ -e /dev/nvidia0 ] || [ -e /proc/driver/nvidia/version ] && echo cuda; "
    "[ -e /dev/bm-sophon0 ] || [ -e /proc/bmsophon/driver_version ] && echo sophgo; true"
)
"""Which kinds of devices a node seems to have."""
