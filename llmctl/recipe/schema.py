"""The recipe's form. Unknown keys are refused; every default stands here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from llmctl_engine.devices import DEVICES
from llmctl_engine.template_names import full_name
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Section(BaseModel):
    """A block of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Cluster(Section):
    """Where it runs."""

    device: Literal["npu", "cuda", "sophgo", "cpu"]
    nodes: tuple[str, ...] = Field(default=(), strict=False)
    """`[user@]name[=address][:port]`, names with ranges like `node[01-16]`."""
    hostfile: str | None = None
    """A hostfile beside the recipe, instead of `nodes`."""
    devices_per_node: int = Field(default=1, ge=1)
    workdir: str | None = None
    """The same absolute path on every node; the local backend may leave it out."""
    user: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    python: str | None = None
    """The interpreter on the nodes; without it `python3` after `activate`."""
    activate: tuple[str, ...] = Field(default=(), strict=False)
    """Shell lines run on each node before anything else."""
    env: dict[str, str | int | float | bool] = Field(default_factory=dict)
    expect: dict[str, str] = Field(default_factory=dict)
    """Pins: fact name -> the version that every node must have."""
    master_addr: str | None = None
    master_port: int | None = Field(default=None, ge=1, le=65535)
    interface: str | None = None
    """The network interface for the collectives; chosen from the route between the nodes without it."""

    @field_validator("workdir")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError("must be an absolute path, the same on every node")
        return value

    @field_validator("env")
    @classmethod
    def _variable_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if not key.replace("_", "a").isalnum() or key[0].isdigit() or not key.isascii():
                raise ValueError(f"{key!r} is no name of an environment variable")
        return value


class Launch(Section):
    """How it is started."""

    backend: Literal["local", "ssh", "pdsh"] = "ssh"
    launcher: Literal["torchrun", "deepspeed"] = "torchrun"


class Model(Section):
    """Which model."""

    path: str | None = None
    init: dict[str, Any] | None = None
    """A small model made from scratch: transformers config keys with `model_type`."""
    template: str = "default@0.9.5"
    stage: bool = False
    """Copy the weights from the launcher to every node."""
    trust_remote_code: bool = False

    @field_validator("template")
    @classmethod
    def _known_template(cls, value: str) -> str:
        full = full_name(value)
        if full is None:
            from llmctl_engine.template_names import TEMPLATE_NAMES

            raise ValueError(f"no template {value!r}; there are {', '.join(TEMPLATE_NAMES)}")
        return full

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        if (self.path is None) == (self.init is None):
            raise ValueError("give exactly one of `path` and `init`")
        return self


class Data(Section):
    """Which data."""

    dir: str = "data"
    datasets: tuple[str, ...] = Field(min_length=1, strict=False)
    cutoff_len: int = Field(default=1024, ge=8)
    max_samples: int | None = Field(default=None, ge=1)


class Lora(Section):
    """LoRA, for `train.method: lora`."""

    r: int = Field(default=8, ge=1)
    alpha: int | None = Field(default=None, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1, strict=False)
    targets: tuple[str, ...] = Field(default=("all",), min_length=1, strict=False)
    adapter: str | None = None


class Train(Section):
    """How it is trained."""

    stage: Literal["sft", "pt"] = "sft"
    method: Literal["full", "lora"] = "full"
    epochs: float = Field(default=3.0, gt=0, strict=False)
    max_steps: int = Field(default=-1, ge=-1)
    micro_batch: int = Field(default=1, ge=1)
    grad_accum: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0, strict=False)
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = Field(default=42, ge=0)
    warmup_steps: float = Field(default=0, ge=0, strict=False)
    weight_decay: float = Field(default=0.0, ge=0, strict=False)
    max_grad_norm: float = Field(default=1.0, ge=0, strict=False)
    gradient_checkpointing: bool = False
    logging_steps: int = Field(default=1, ge=1)
    save_steps: int = Field(default=0, ge=0)
    save_total_limit: int | None = Field(default=None, ge=1)
    lora: Lora = Lora()


class DeepSpeed(BaseModel):
    """DeepSpeed; further keys pass through to ds_config.json after the lint."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    stage: Literal[0, 1, 2, 3]


class Report(Section):
    """What the run is compared with."""

    reference: str | None = None
    """A log beside the recipe."""


class Recipe(Section):
    """A whole recipe."""

    name: Name
    cluster: Cluster
    launch: Launch = Launch()
    model: Model
    data: Data
    train: Train = Train()
    deepspeed: DeepSpeed | None = None
    report: Report = Report()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        cluster, launch = self.cluster, self.launch
        device = DEVICES[cluster.device]
        if bool(cluster.nodes) == bool(cluster.hostfile) and (launch.backend != "local" or cluster.nodes):
            raise ValueError("cluster: give exactly one of `nodes` and `hostfile`")
        if launch.backend != "local" and cluster.workdir is None:
            raise ValueError(f"cluster.workdir: is needed by the {launch.backend} backend")
        if launch.backend == "pdsh" and launch.launcher != "deepspeed":
            raise ValueError("launch.launcher: pdsh is DeepSpeed's own multi-node path; use `launcher: deepspeed`")
        if self.train.precision not in device.precisions:
            raise ValueError(
                f"train.precision: {self.train.precision} does not train on {device.name}; "
                f"use {' or '.join(device.precisions)}"
            )
        return self
