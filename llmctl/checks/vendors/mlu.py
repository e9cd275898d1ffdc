"""Cambricon MLUs: cnmon."""

from __future__ import annotations

from llmctl.checks.parsers import cambricon
from llmctl.checks.rows import Row
from llmctl.checks.vendors.vendor import Vendor, device_rows

_CNMON = 'PATH="$PATH:/usr/local/neuware/bin"; cnmon'

VENDOR = Vendor(
    name="mlu",
    title="Cambricon MLU",
    present="[ -e /dev/cambricon_dev0 ] || [ -e /proc/driver/cambricon ]",
    variables=("MLU_", "CNCL_", "NEUWARE_", "CNNL_"),
    rows=(
        *device_rows(_CNMON, cambricon.cards, "`cnmon`"),
        Row(
            name="driver.version", run=_CNMON, parse=cambricon.driver, source="`cnmon`",
            why="another driver may not run this toolkit", remedy="install the same driver on all nodes",
        ),
    ),
)  # fmt: skip
