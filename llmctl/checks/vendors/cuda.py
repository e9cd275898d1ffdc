"""NVIDIA GPUs: nvidia-smi, the kernel module, CUDA, NCCL, NVLink."""

from __future__ import annotations

from typing import Any

from llmctl.checks import compat
from llmctl.checks.facts import Severity
from llmctl.checks.parsers import nvidia
from llmctl.checks.parsers.text import lines
from llmctl.checks.rows import Complaint, Row, Wanted, major_differs
from llmctl.checks.vendors.vendor import Vendor, device_rows

_QUERY = "nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used --format=csv"
_MODES = "nvidia-smi --query-gpu=persistence_mode,ecc.mode.current,mig.mode.current,compute_mode --format=csv,noheader"
_XID_LINES = 'm=$(dmesg 2>&1) || { echo "$m" >&2; exit 1; }; echo "$m" | grep "NVRM: Xid" | tail -200; true'
_HAS = "command -v nvidia-smi >/dev/null || { echo none; exit; }"
XIDS = frozenset(map(str, [48, 56, 57, 58, 62, 63, 64, 65, 68, 69, 73, 74, 79, 80, 81, 92, 119, 120]))
"""Xid codes of failing hardware, driver or links; others come from a program's own mistake."""


def _links(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    down = [gpu for gpu, links in value.items() if "inactive" in links and set(links) != {"inactive"}]
    return (Severity.WARNING, f"some NVLinks of GPU {', '.join(down)} are inactive") if down else None


def _pages(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    ill = [
        f"{number} (double bit {gpu['double']}{', pending' if gpu['pending'] else ''})"
        for number, gpu in enumerate(value)
        if gpu["double"] or gpu["pending"]
    ]
    return (Severity.WARNING, f"GPU {', '.join(ill)} has retired memory pages") if ill else None


def _xids(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    found = [f"{code} ({count} times)" for code, count in value.items() if code in XIDS]
    return (Severity.WARNING, f"the kernel log has Xid {', '.join(found)}") if found else None


VENDOR = Vendor(
    name="cuda",
    title="NVIDIA GPU",
    present="[ -e /dev/nvidia0 ] || [ -e /proc/driver/nvidia/version ]",
    variables=("CUDA_", "TORCH_NCCL_", "TORCH_CUDA_", "NVIDIA_", "PYTORCH_CUDA_"),
    rows=(
        *device_rows(_QUERY, nvidia.gpus, "`nvidia-smi --query-gpu`"),
        Row(
            name="driver.version", run="cat /proc/driver/nvidia/version", parse=nvidia.kernel_module,
            grade=major_differs, source="`/proc/driver/nvidia/version`",
            why="another branch may not run the CUDA that torch was built with",
            remedy="install the same driver branch on all nodes",
        ),
        Row(
            name="driver.cuda", run="nvidia-smi", parse=nvidia.cuda_level, mode="told", severity=Severity.INFO,
            source="`nvidia-smi`: the newest CUDA that the driver runs", why="for `compat.cuda`",
        ),
        Row(
            name="toolkit.version", env=True, severity=Severity.WARNING,
            run='PATH="$PATH:/usr/local/cuda/bin"; command -v nvcc >/dev/null || { echo none; exit; }; nvcc --version',
            parse=lambda out: "none" if out.strip() == "none" else nvidia.nvcc(out), source="`nvcc --version`",
            why="DeepSpeed compiles its operators with it",
            remedy="install the same CUDA toolkit on all nodes, or on none",
        ),
        Row(
            name="nccl.library", severity=Severity.WARNING,
            run="ls /usr/lib/*/libnccl.so.2.* /usr/lib64/libnccl.so.2.* /usr/local/nccl*/lib/libnccl.so.2.* "
            "/usr/local/cuda/lib64/libnccl.so.2.* 2>/dev/null; true",
            parse=lines, source="names of `libnccl.so.2.x.y` of the system",
            why="NCCL of two releases on one run fails with strange errors",
            remedy="install the same NCCL on all nodes; LD_LIBRARY_PATH decides which one is loaded",
        ),
        Row(
            name="accelerator.modes", run=f"{_HAS}; {_MODES}", parse=lines, severity=Severity.WARNING,
            source="`nvidia-smi --query-gpu`: persistence, ECC, MIG, compute mode",
            why="MIG hides memory; ECC and persistence change speed", remedy="set the same modes on all nodes",
        ),
        Row(
            name="accelerator.links", run=f"{_HAS}; nvidia-smi nvlink -s", mode="ok",
            severity=Severity.WARNING, optional=True,
            parse=lambda out: {} if out.strip() == "none" or "GPU" not in out else nvidia.nvlinks(out), judge=_links,
            source="`nvidia-smi nvlink -s`", why="collectives inside the node go over PCIe",
            remedy="reset or replace it",
        ),
        Row(
            name="accelerator.errors", run=f"{_HAS}; nvidia-smi -q -d PAGE_RETIREMENT", mode="ok",
            severity=Severity.WARNING, optional=True,
            parse=lambda out: [] if out.strip() == "none" else nvidia.retired_pages(out),
            judge=_pages, source="`nvidia-smi -q -d PAGE_RETIREMENT`", why="memory of that GPU is failing",
            remedy="reboot where pages are pending; the vendor replaces a card with many",
        ),
        Row(
            name="kernel.errors", run=_XID_LINES, mode="ok",
            severity=Severity.WARNING, optional=True, parse=nvidia.xids, judge=_xids, source="`dmesg`: Xid",
            why="the GPU fell off the bus, or its memory or links fail",
            remedy="dmesg -T | grep Xid; reboot or replace",
        ),
    ),
    rules=(compat.CUDA, compat.TORCH_BUILD),
)  # fmt: skip
