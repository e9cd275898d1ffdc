"""The kinds of devices that the check knows, one file each (docs/adding-a-device.md)."""

from __future__ import annotations

from llmctl.checks.vendors import cuda, mlu, npu, rocm, sophgo
from llmctl.checks.vendors.vendor import Vendor

VENDORS: dict[str, Vendor] = {
    vendor.name: vendor
    for vendor in (
        Vendor(name="cpu", title="no accelerator", present="false"),
        npu.VENDOR,
        cuda.VENDOR,
        sophgo.VENDOR,
        rocm.VENDOR,
        mlu.VENDOR,
    )
}
"""By `cluster.device` or `--device`."""

PRESENT = "; ".join(f"if {vendor.present}; then echo {name}; fi" for name, vendor in VENDORS.items())
"""Which kinds of devices a node seems to have."""
