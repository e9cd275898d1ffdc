"""The devices that a recipe can name. Standard library only: the launcher reads this table too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Device:
    """One kind of accelerator, as torch and the vendor's tools name it."""

    name: str
    torch_name: str
    """The device type in `torch.device`."""
    plugin: str | None
    """The module whose import registers it with torch."""
    collective: str
    """The torch.distributed backend."""
    visible: str | None
    """The environment variable that restricts a process to some devices."""
    interface_variables: tuple[str, ...]
    """Environment variables that name the network interface for the collective library and for gloo."""
    precisions: tuple[str, ...]
    engine: bool
    """Whether the bundled engine can train on it."""


DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device(
            name="cpu",
            torch_name="cpu",
            plugin=None,
            collective="gloo",
            visible=None,
            interface_variables=("GLOO_SOCKET_IFNAME",),
            precisions=("fp32", "bf16"),
            engine=True,
        ),
        Device(
            name="cuda",
            torch_name="cuda",
            plugin=None,
            collective="nccl",
            visible="CUDA_VISIBLE_DEVICES",
            interface_variables=("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"),
            precisions=("fp32", "bf16", "fp16"),
            engine=True,
        ),
        Device(
            name="npu",
            torch_name="npu",
            plugin="torch_npu",
            collective="hccl",
            visible="ASCEND_RT_VISIBLE_DEVICES",
            interface_variables=("HCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"),
            precisions=("fp32", "bf16", "fp16"),
            engine=True,
        ),
        Device(
            name="sophgo",
            torch_name="tpu",
            plugin="torch_tpu",
            collective="sccl",
            visible=None,
            interface_variables=("GLOO_SOCKET_IFNAME",),
            precisions=("fp32", "fp16"),
            engine=False,
        ),
    )
}
