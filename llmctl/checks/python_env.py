"""The interpreter that the run will use, its packages and its conda environment, read without importing any."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from llmctl.checks import compat
from llmctl.checks.facts import Severity
from llmctl.checks.parsers.python import conda_packages
from llmctl.checks.rows import DEEP_SECONDS, Complaint, Row, Wanted, minor_differs
from llmctl.quoting import sh_quote
from llmctl.resources import onnode_text

CORE_PACKAGES = ("torch", "torch-npu", "torch-tpu", "deepspeed", "transformers", "accelerate", "peft")
"""Another version of one of these on one node changes or stops the run."""
NEAR_PACKAGES = ("apex", "bitsandbytes", "datasets", "flash-attn", "numpy", "safetensors", "tokenizers", "triton")
"""Another version of one of these can change a result."""
ENGINE_PACKAGES = ("torch", "transformers", "accelerate", "safetensors")
"""What the bundled engine cannot start without."""
LOOKED_INTO = (*CORE_PACKAGES, "datasets", "safetensors", "tokenizers")
"""The packages whose files are held against what was installed."""
RULES = (compat.DEEPSPEED,)


QUICK_SECONDS = 60.0
"""A look at every file of these packages: half a second on a local disk, much more on a cold network one."""


def python_rows(python: str, *, engine: bool, deepspeed: bool = False, lora: bool = False) -> list[Row]:
    """`python` is the interpreter's name or path after the activation; `engine`: the bundled engine is to run."""
    script = f"{sh_quote(python)} -c {sh_quote(onnode_text('packages.py'))}"
    names = " ".join(LOOKED_INTO)
    run = f"{script} versions"
    needed = [*ENGINE_PACKAGES, *(["deepspeed"] if deepspeed else []), *(["peft"] if lora else [])]

    def complete(value: Any, _node: str, _wanted: Wanted) -> Complaint:
        missing = [name for name in needed if name not in value]
        return (Severity.ERROR, f"lacks {', '.join(missing)} in {python}") if engine and missing else None

    def row(name: str, parse: Callable[[str], Any], **more: Any) -> Row:
        return Row(name=name, run=more.pop("run", run), parse=parse, env=True, **more)

    return [
        row(
            "python.executable", _part("executable"),
            severity=Severity.ERROR if engine else Severity.WARNING,
            must=f"{python} cannot be run" if engine else "",
            source="the recipe's interpreter, after `cluster.activate`",
            why="DeepSpeed starts the first node's path on all nodes",
            remedy="name the same interpreter for all nodes: cluster.python or cluster.activate",
        ),
        row(
            "python.version", _part("version"), grade=minor_differs, source="the same",
            why="compiled packages do not load", remedy="use the same Python on all nodes",
        ),
        row(
            "python.packages", _part("packages"), mode="ok", judge=complete,
            source="metadata (`dist-info`, `egg-info`)", why="the engine does not start",
            remedy="install the engine's packages in that environment (docs/devices.md)",
        ),
        row(
            "python.torch", _part("torch"), mode="told", severity=Severity.INFO, source="`torch/version.py`",
            why="for `compat.cuda` and `compat.torch_build`",
        ),
        row(
            "python.twice", _part("twice"), mode="ok", judge=_twice, severity=Severity.WARNING,
            source="the same metadata", why="which of the two versions is imported is chance",
            remedy="uninstall the package until it is gone, then install it once",
        ),
        row(
            "python.edited", _part("edited"), run=f"{script} quick {names}", seconds=QUICK_SECONDS, optional=True,
            shallow=True,
            grade=lambda _: Severity.ERROR, judge=_edited,
            severity=Severity.ERROR,
            source="`RECORD` of the core packages: size, SHA-256 of what changed after the installation",
            why="a node computes something else under the same version",
            remedy="copy the edited files to all nodes, or install the packages again",
        ),
        row(
            "python.edited_deep", _part("edited"), run=f"{script} deep {names}", deep=True, seconds=DEEP_SECONDS,
            grade=lambda _: Severity.ERROR, judge=_edited, severity=Severity.ERROR,
            source="the same, SHA-256 of every file", why="the same",
            remedy="copy the edited files to all nodes, or install the packages again",
        ),
        row(
            "conda.packages", conda_packages, severity=Severity.WARNING,
            run='if [ -n "$CONDA_PREFIX" ]; then ls "$CONDA_PREFIX/conda-meta"; fi',
            source="file names in `$CONDA_PREFIX/conda-meta`", why="compilers and libraries differ",
            remedy="make the conda environments equal: conda list --explicit on the good node",
        ),
        *(
            row(
                f"package.{name}", partial(_version_of, name), severity=severity,
                source="the same metadata; with git its commit, and a mark for files changed since",
                why="ranks compute different things, or wait for each other",
                remedy="install the same version on all nodes",
            )
            for severity, group in ((Severity.ERROR, CORE_PACKAGES), (Severity.WARNING, NEAR_PACKAGES))
            for name in group
        ),
        row(
            "package.nccl", _nccl, source="the version of the package `nvidia-nccl-cu*`",
            why="NCCL of two releases on one run fails with strange errors",
            remedy="install the same torch build on all nodes",
        ),
        row(
            "packages.other", _others, severity=Severity.INFO, source="all other packages",
            why="worth knowing when results differ", remedy="compare pip freeze of the nodes",
        ),
    ]  # fmt: skip


def _told(out: str) -> dict[str, Any]:
    """Raises ValueError for anything but the script's answer."""
    answer: dict[str, Any] = json.loads(out)
    return answer


def _part(name: str) -> Callable[[str], Any]:
    return lambda out: _told(out)[name]


def _version_of(name: str, out: str) -> str:
    version: str = _told(out)["packages"].get(name, "none")
    return version


def _nccl(out: str) -> str:
    found = [version for name, version in _told(out)["packages"].items() if name.startswith("nvidia-nccl-")]
    return ", ".join(found) or "none"


def _others(out: str) -> dict[str, str]:
    known = {*CORE_PACKAGES, *NEAR_PACKAGES}
    return {name: version for name, version in _told(out)["packages"].items() if name not in known}


def _twice(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    told = [f"{name} ({', '.join(versions)})" for name, versions in value.items()]
    return (Severity.WARNING, f"installed twice: {', '.join(told)}") if told else None


def _edited(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    names = sorted(value)
    more = f" and {len(names) - 4} more" if names[4:] else ""
    return (Severity.INFO, f"files of packages were changed by hand: {', '.join(names[:4])}{more}") if names else None
