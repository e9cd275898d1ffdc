"""The recipe's form. Unknown keys are refused; every default stands here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from llmctl_engine.devices import DEVICES
from llmctl_engine.families import FAMILIES
from llmctl_engine.templates import TEMPLATES, full_name
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What begins a run id: it becomes part of paths, of names of containers and of jobs."""
Name = Annotated[str, Field(pattern=NAME)]

Account = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]*$")]


class Section(BaseModel):
    """A block of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Container(Section):
    """The container that each node's part of the run starts in."""

    runtime: Literal["docker", "podman", "apptainer"]
    image: Annotated[str, Field(pattern=r"^[A-Za-z0-9/][^\s\x00-\x1f]*$")]
    """A name or id of docker and podman, the absolute path of a file of apptainer."""
    args: tuple[str, ...] = Field(default=(), strict=False)
    """Further words for `run` or `exec`, each one word of the command line."""

    @field_validator("args")
    @classmethod
    def _free_words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value and not value[0].startswith("-"):
            raise ValueError(f"{value[0]!r} is no option, and would be taken for the image")
        for before, word in zip(("", *value), value, strict=False):
            name, _, given = word.partition("=")
            if before in WITH_VALUE:
                name, given = before, word
            elif re.match(r"-\S*\s", name):
                raise ValueError(f"{word!r} is one word; give the option and its value as two, or with `=`")
            if name in OWN_WORDS or (name in OF_ENVIRONMENT and given.startswith("LLMCTL_")):
                raise ValueError(f"{word!r} is set by llmctl itself; leave it out")
        return value


OF_ENVIRONMENT = ("-e", "--env")
WITH_VALUE = (*OF_ENVIRONMENT, "-l", "--label", "-v", "--volume", "--mount", "--bind", "--device", "--gpus")
"""Options whose value may be the next word, whatever that looks like."""
OWN_WORDS = ("--name", "--rm", "-d", "--detach", "--entrypoint", "--cidfile", "-it", "-ti", "-t", "--tty")
"""Options of a container that a run cannot do without, or not live with."""


class Cluster(Section):
    """Where it runs."""

    device: Literal["npu", "cuda", "sophgo", "cpu"]
    nodes: tuple[str, ...] = Field(default=(), strict=False)
    """`[user@]name[=address][:port]`, names with ranges like `node[01-16]`."""
    hostfile: str | None = None
    """A hostfile beside the recipe, instead of `nodes`."""
    devices_per_node: int = Field(default=1, ge=1)
    devices: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), strict=False)
    """The device numbers to use on each node, so that two runs can share one; without them the first ones."""
    workdir: str | None = None
    """The same absolute path on every node; the local backend may leave it out."""
    user: Account | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    python: str | None = None
    """The interpreter on the nodes; without it `python3` after `activate`."""
    activate: tuple[str, ...] = Field(default=(), strict=False)
    """Shell lines run on each node before anything else."""
    env: dict[str, str | int | float | bool] = Field(default_factory=dict)
    code: tuple[str, ...] = Field(default=(), strict=False)
    """Absolute paths of your own code that must be the same on all nodes, file by file and by commit."""
    expect: dict[str, str] = Field(default_factory=dict)
    """Pins: fact name -> the version that every node must have."""
    master_addr: Address | None = None
    master_port: int | None = Field(default=None, ge=1, le=65535)
    container: Container | None = None
    """Start each node's part in a container."""
    interface: str | None = None
    """The network interface for the collectives; chosen from the route between the nodes without it."""

    @model_validator(mode="before")
    @classmethod
    def _a_process_a_device(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("devices"), list | tuple) and values["devices"]:
            return {"devices_per_node": len(values["devices"]), **values}
        return values

    @field_validator("devices")
    @classmethod
    def _each_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a device is named twice")
        return value

    @field_validator("workdir")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError("must be an absolute path, the same on every node")
        return value

    @field_validator("code")
    @classmethod
    def _absolute_code(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            if not path.startswith("/"):
                raise ValueError(f"{path!r} must be an absolute path, the same on every node")
        return value

    @field_validator("env")
    @classmethod
    def _variable_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if not key.replace("_", "a").isalnum() or key[0].isdigit() or not key.isascii():
                raise ValueError(f"{key!r} is no name of an environment variable")
        return value


Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,:/+@=-]*$")]
"""A name that a cluster's own administrators chose."""


TimeLimit = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(pattern=r"^[0-9]+(-[0-9]+)?(:[0-9]{1,2}){0,2}$"),
]


class Slurm(Section):
    """What is asked of Slurm, for `launch.backend: slurm`."""

    login: str | None = None
    """`[user@]name[=address][:port]` of a machine with Slurm's commands; this one without it."""
    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    time_limit: TimeLimit | None = None
    """As Slurm writes it: minutes, `hours:minutes:seconds`, `days-hours`; the partition's own without it."""
    nodes: int | None = Field(default=None, ge=1)
    """How many nodes of Slurm's choice, instead of `cluster.nodes`."""
    gres: Word | None = None
    """What each node shall give; `npu:N` or `gpu:N` for the recipe's devices without it, `none` for nothing."""
    signal_seconds: int = Field(default=120, ge=10, le=65535)
    """So long before the time limit a checkpoint is written."""
    requeue: int = Field(default=0, ge=0)
    """How often the job goes on in the queue: after a node failure, a preemption, at its time limit."""
    args: tuple[str, ...] = Field(default=(), strict=False)
    """Further options of sbatch, each one word: `--cpus-per-task=32`."""

    @field_validator("args")
    @classmethod
    def _free_options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            name = word.partition("=")[0]
            if not re.fullmatch(r"--[a-z][a-z0-9-]*", name):
                raise ValueError(f"{word!r} is one word; write it as `--option=value`")
            if name in OWN_SBATCH:
                raise ValueError(f"{word!r} is set by llmctl itself; leave it out")
            if any(character in word for character in "\n\r\0"):
                raise ValueError(f"{word!r} holds a line end")
        return value


OWN_SBATCH = (
    "--job-name", "--nodes", "--nodelist", "--nodefile", "--ntasks", "--ntasks-per-node", "--output", "--error",
    "--chdir", "--signal", "--requeue", "--no-requeue", "--parsable", "--partition", "--account", "--qos", "--time",
    "--gres", "--open-mode", "--export", "--export-file", "--array", "--wrap", "--wait", "--test-only", "--no-kill",
)  # fmt: skip
"""Options that a run sets, or cannot live with."""


PATIENCE = 3 * 24 * 3600
"""Seconds: a launcher that is offline over a weekend gives up no run."""


class Launch(Section):
    """How it is started."""

    backend: Literal["local", "ssh", "pdsh", "slurm"] = "ssh"
    launcher: Literal["torchrun", "deepspeed"] = "torchrun"
    retries: int = Field(default=0, ge=0)
    """How often a run is started again by itself from its last good checkpoint."""
    on: tuple[Literal["node_lost", "ssh", "collective_timeout", "rank_killed"], ...] = Field(
        default=("node_lost", "ssh", "collective_timeout", "rank_killed"), min_length=1, strict=False
    )
    """The reasons for which it is."""
    spares: tuple[str, ...] = Field(default=(), strict=False)
    """Nodes that stand in for lost ones, written as `cluster.nodes` are."""
    elastic: int = Field(default=0, ge=0)
    """How often torchrun replaces lost ranks by itself, without a new start of the run."""
    stall: int = Field(default=1800, ge=0)
    """Seconds without a step after which a run counts as hanging; 0 never."""
    patience: int = Field(default=PATIENCE, ge=10)
    """Seconds for which all nodes are asked in vain before the run is given up as lost."""
    notify: str | None = None
    """A shell line that is run on the launcher when a run has ended or hangs."""
    when_busy: Literal["refuse", "wait"] | None = None
    """What becomes of a start whose devices are in use; without it accelerators are refused, and a CPU is shared."""
    slurm: Slurm | None = None


class Model(Section):
    """Which model."""

    path: str | None = None
    init: dict[str, Any] | None = None
    """A small model made from scratch: transformers config keys with `model_type`."""
    family: str | None = None
    """A model of Baichuan or Yuan, where the folder's config.json does not tell it."""
    template: str = "default@0.9.5"
    stage: bool = False
    """Copy the weights from the launcher to every node."""
    trust_remote_code: bool = False
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    """How attention is reckoned; sdpa without it, or eager for a model that has no other."""

    @field_validator("family")
    @classmethod
    def _known_family(cls, value: str | None) -> str | None:
        if value is not None and value not in FAMILIES:
            raise ValueError(f"no family {value!r}; there are {', '.join(FAMILIES)}; others need none")
        return value

    @field_validator("template")
    @classmethod
    def _known_template(cls, value: str) -> str:
        full = full_name(value)
        if full is None:
            near = difflib.get_close_matches(value, TEMPLATES, n=3, cutoff=0.4)
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            raise ValueError(f"no template {value!r}; {meant}`llmctl recipes templates` lists them")
        return full


class Data(Section):
    """Which data."""

    dir: str = "data"
    datasets: tuple[str, ...] = Field(min_length=1, strict=False)
    cutoff_len: int = Field(default=1024, ge=8)
    packing: Literal["exact", "naive", "none"] = "exact"
    """How samples share rows of `cutoff_len`: side by side without seeing each other, joined as in old releases of
    LLaMA-Factory, or not at all. Plain text is joined to full rows in any case."""
    max_samples: int | None = Field(default=None, ge=1)
    broken_rows: Literal["stop", "skip"] = "stop"
    """What becomes of rows that cannot be trained on; they are counted and told either way."""
    loss_on: Literal["answers", "last", "split", "all"] = "answers"
    cutoff_rule: Literal["lf02", "lf05", "lf06", "lf09"] | None = None
    """How rows longer than `cutoff_len` are cut; the template's own release decides without it."""
    mix: Literal["concat", "interleave_under", "interleave_over"] = "concat"
    probabilities: tuple[float, ...] = Field(default=(), strict=False)
    """How often each dataset is drawn from when they are interleaved; they take turns without it."""
    fill: dict[str, str] = Field(default_factory=dict)
    """What stands for `{{name}}` in the data, by the name."""

    @model_validator(mode="after")
    def _drawn_from_all(self) -> Data:
        if not self.probabilities:
            return self
        if self.mix == "concat":
            raise ValueError("probabilities are for mix: interleave_under and interleave_over")
        if len(self.probabilities) != len(self.datasets):
            raise ValueError(f"{len(self.probabilities)} probabilities for {len(self.datasets)} datasets")
        if min(self.probabilities) <= 0 or abs(sum(self.probabilities) - 1) > 1e-6:
            raise ValueError("probabilities must be above 0 and sum to 1")
        return self


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
    profile: Literal["seed", "mindformers", "mindspeed-ci", "megatron", "exact"] = "seed"
    """What the comparison is judged by."""
    gates: dict[str, float] = Field(default_factory=dict)
    """Limits in place of the profile's own, by the name of the gate."""


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
        found = contradictions(self.model_dump())
        if found:
            raise ValueError("; ".join(f"{path}: {message}" for path, message in found))
        return self


def contradictions(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Mistakes between keys, each with the key path it is told at. Works on values that are not validated yet, so
    that they are told together with all others; what is no block or is missing counts as empty."""
    cluster, launch, model, train = (_block(values, name) for name in ("cluster", "launch", "model", "train"))
    backend = launch.get("backend", Launch().backend)
    found: list[tuple[str, str]] = []
    if backend == "local":
        found += [
            (f"cluster.{key}", "the local backend runs on this machine alone; leave it out")
            for key in ("nodes", "hostfile")
            if cluster.get(key)
        ]
    else:
        count = backend == "slurm" and _block(launch, "slurm").get("nodes")
        if sum(map(bool, (cluster.get("nodes"), cluster.get("hostfile"), count))) != 1:
            also = ", or launch.slurm.nodes" if backend == "slurm" else ""
            found.append(("cluster", f"give exactly one of `nodes` and `hostfile`{also}"))
        if cluster.get("workdir") is None:
            found.append(("cluster.workdir", f"is needed by the {backend} backend"))
    if backend == "pdsh" and launch.get("launcher", Launch().launcher) != "deepspeed":
        found.append(("launch.launcher", "pdsh is DeepSpeed's own multi-node path; use `launcher: deepspeed`"))
    found += _retry_contradictions(launch, backend)
    found += _slurm_contradictions(launch, backend)
    found += _container_contradictions(_block(cluster, "container"))
    found += _device_contradictions(cluster, launch, backend)
    if (model.get("path") is None) == (model.get("init") is None):
        found.append(("model", "give exactly one of `path` and `init`"))
    device, precision = DEVICES.get(str(cluster.get("device"))), train.get("precision", Train().precision)
    if device and precision in ("fp32", "bf16", "fp16") and precision not in device.precisions:
        words = " or ".join(device.precisions)
        found.append(("train.precision", f"{precision} does not train on {device.name}; use {words}"))
    if train.get("method", Train().method) == "full" and _block(train, "lora").get("adapter") is not None:
        found.append(("train.lora.adapter", "an adapter is for `method: lora`"))
    if train.get("max_steps") == 0:
        found.append(("train.max_steps", "must be at least 1, or -1 for no bound"))
    return found


def _retry_contradictions(launch: Mapping[str, Any], backend: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if launch.get("retries") and backend == "slurm":
        found.append(("launch.retries", "Slurm itself starts a run again; launch.slurm.requeue says how often"))
    if launch.get("spares") and backend in ("local", "slurm"):
        who = "this machine alone" if backend == "local" else "the nodes that Slurm gives"
        found.append(("launch.spares", f"the {backend} backend runs on {who}; leave it out"))
    elif launch.get("spares") and not launch.get("retries"):
        found.append(("launch.spares", "spares stand in when a run is started again; set launch.retries too"))
    if launch.get("elastic") and (launch.get("launcher", Launch().launcher) != "torchrun" or backend == "slurm"):
        found.append(("launch.elastic", "is torchrun's own; use `launcher: torchrun` on local or ssh"))
    return found


def _slurm_contradictions(launch: Mapping[str, Any], backend: Any) -> list[tuple[str, str]]:
    if backend != "slurm":
        return [("launch.slurm", "is for `backend: slurm`; leave it out")] if launch.get("slurm") else []
    if launch.get("when_busy"):
        return [("launch.when_busy", "Slurm gives the devices and has its own queue; leave it out")]
    return []


def _device_contradictions(
    cluster: Mapping[str, Any], launch: Mapping[str, Any], backend: Any
) -> list[tuple[str, str]]:
    if backend == "slurm":
        given = {"launch.when_busy": launch.get("when_busy"), "cluster.devices": cluster.get("devices")}
        why = "Slurm queues runs and gives them devices itself; leave it out"
        return [(path, why) for path, value in given.items() if value]
    numbers, count, env = cluster.get("devices"), cluster.get("devices_per_node"), _block(cluster, "env")
    if not isinstance(numbers, list | tuple) or not numbers:
        return []
    found: list[tuple[str, str]] = []
    if count is not None and count != len(numbers):
        found.append(
            ("cluster.devices_per_node", f"is {count}, but cluster.devices names {len(numbers)}; leave it out")
        )
    device = DEVICES.get(str(cluster.get("device")))
    if device and device.visible in env:
        found.append((f"cluster.env.{device.visible}", "is set from cluster.devices; leave it out"))
    return found


def _container_contradictions(container: Mapping[str, Any]) -> list[tuple[str, str]]:
    image = container.get("image")
    if container.get("runtime") != "apptainer" or not isinstance(image, str) or image.startswith("/"):
        return []
    why = "apptainer starts a file: give its absolute path, the same on every node (apptainer pull FILE.sif URI)"
    return [("cluster.container.image", why)]


def _block(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    block = values.get(name)
    return block if isinstance(block, Mapping) else {}
