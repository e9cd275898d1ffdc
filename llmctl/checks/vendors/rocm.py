"""AMD GPUs: rocm-smi and ROCm."""

from __future__ import annotations

from llmctl.checks.facts import Severity
from llmctl.checks.parsers import amd
from llmctl.checks.parsers.text import text
from llmctl.checks.rows import Row, file_or_none
from llmctl.checks.vendors.vendor import Vendor, device_rows

_PATH = 'PATH="$PATH:/opt/rocm/bin"'

VENDOR = Vendor(
    name="rocm",
    title="AMD GPU",
    present="[ -e /dev/kfd ] && [ -e /sys/module/amdgpu ]",
    variables=("HIP_", "ROCR_", "HSA_", "RCCL_", "ROCM_"),
    rows=(
        *device_rows(f"{_PATH}; rocm-smi --showproductname --showmeminfo vram --json", amd.cards, "`rocm-smi`"),
        Row(
            name="driver.version", run=f"{_PATH}; rocm-smi --showdriverversion --json", parse=amd.driver,
            source="`rocm-smi --showdriverversion`", why="another driver may not run this ROCm",
            remedy="install the same amdgpu driver on all nodes",
        ),
        Row(
            name="toolkit.version", run=file_or_none("/opt/rocm/.info/version"), parse=text,
            severity=Severity.WARNING, source="`/opt/rocm/.info/version`", why="RCCL and compilers differ",
            remedy="install the same ROCm on all nodes",
        ),
    ),
)  # fmt: skip
