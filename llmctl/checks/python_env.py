"""The interpreter that the run will use, its packages and its conda environment, read without importing any."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from llmctl.checks import parsers
from llmctl.checks.facts import Severity
from llmctl.checks.rows import CORE_PACKAGES, Complaint, Row, Wanted, minor_differs
from llmctl.quoting import sh_quote

_SCRIPT = r"""
import json, os, re, sys
found = {}
for place in sys.path:
    names = os.listdir(place) if os.path.isdir(place) else []
    for name in sorted(names):
        stem = re.match(r"(.+)-([^-]+?)\.dist-info$|(.+?)-([^-]+?)(?:-py[0-9.]+)?\.egg-info$", name)
        if not stem:
            continue
        package, version = stem.group(1) or stem.group(3), stem.group(2) or stem.group(4)
        package = re.sub(r"[-_.]+", "-", package).lower()
        try:
            with open(os.path.join(place, name, "direct_url.json")) as file:
                origin = json.load(file)
            version += "@" + origin.get("vcs_info", {}).get("commit_id", origin.get("url", ""))
        except (IOError, OSError, ValueError):
            pass
        found.setdefault(package, version)
print(json.dumps({"executable": os.path.abspath(sys.executable), "version": "%d.%d.%d" % sys.version_info[:3],
                  "packages": found}))
"""

ENGINE_PACKAGES = ("torch", "transformers", "accelerate", "safetensors")
"""What the bundled engine cannot start without."""


def python_rows(python: str, *, engine: bool, deepspeed: bool = False, lora: bool = False) -> list[Row]:
    """`python` is the interpreter's name or path after the activation; `engine`: the bundled engine is to run."""
    run = f"{sh_quote(python)} -c {sh_quote(_SCRIPT)}"
    needed = [*ENGINE_PACKAGES, *(["deepspeed"] if deepspeed else []), *(["peft"] if lora else [])]

    def complete(value: Any, _node: str, _wanted: Wanted) -> Complaint:
        missing = [name for name in needed if name not in value]
        return (Severity.ERROR, f"lacks {', '.join(missing)} in {python}") if engine and missing else None

    rows = [
        Row(
            name="python.executable", run=run, parse=lambda out: _told(out)["executable"], env=True,
            severity=Severity.ERROR if engine else Severity.WARNING,
            must=f"{python} cannot be run" if engine else "",
            remedy="name the same interpreter for all nodes: cluster.python or cluster.activate",
        ),
        Row(
            name="python.version", run=run, parse=lambda out: _told(out)["version"], env=True, grade=minor_differs,
            remedy="use the same Python on all nodes",
        ),
        Row(
            name="python.packages", run=run, parse=lambda out: _told(out)["packages"], env=True, mode="ok",
            judge=complete, remedy="install the engine's packages in that environment (docs/devices.md)",
        ),
        Row(
            name="conda.packages", env=True, parse=parsers.conda_packages, severity=Severity.WARNING,
            run='if [ -n "$CONDA_PREFIX" ]; then ls "$CONDA_PREFIX/conda-meta"; fi',
            remedy="make the conda environments equal: conda list --explicit on the good node",
        ),
    ]  # fmt: skip
    rows += [
        Row(
            name=f"package.{name}", run=run, parse=partial(_version_of, name),
            env=True, remedy="install the same version on all nodes",
        )
        for name in CORE_PACKAGES
    ]  # fmt: skip
    rows.append(
        Row(
            name="packages.other", run=run, parse=_others, env=True, severity=Severity.INFO,
            remedy="compare pip freeze of the nodes",
        )
    )  # fmt: skip
    return rows


def _told(out: str) -> dict[str, Any]:
    """Raises ValueError for anything but the script's answer."""
    answer: dict[str, Any] = json.loads(out)
    return answer


def _version_of(name: str, out: str) -> str:
    version: str = _told(out)["packages"].get(name, "none")
    return version


def _others(out: str) -> dict[str, str]:
    return {name: version for name, version in _told(out)["packages"].items() if name not in CORE_PACKAGES}
