"""Python and conda: what stands in their own records."""

from __future__ import annotations

import json
import re
from typing import Any

from llmctl.checks.parsers.text import lines


def name_of(package: str) -> str:
    """A package's name in the one spelling of PEP 503: `torch_npu` is `torch-npu`."""
    return re.sub(r"[-_.]+", "-", package).lower()


def conda_packages(out: str) -> dict[str, str]:
    """File names of `conda-meta`: NAME-VERSION-BUILD.json -> {name: "version build"}."""
    found = {}
    for line in lines(out):
        name, _, rest = line.removesuffix(".json").rpartition("-")
        name, dash, version = name.rpartition("-")
        if line.endswith(".json") and dash:
            found[name] = f"{version} {rest}"
    return found


def conda_record(out: str) -> dict[str, str]:
    """One record of `conda-meta`: {name, version, build, channel, digest}."""
    try:
        told: dict[str, Any] = json.loads(out)
        return {
            "name": str(told["name"]),
            "version": str(told["version"]),
            "build": str(told["build"]),
            "channel": str(told.get("channel", "")),
            "digest": str(told.get("sha256") or told.get("md5") or ""),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no record of a conda package: {error}") from None


def conda_history(out: str) -> dict[str, str]:
    """`conda-meta/history`: name -> "version build" after all its steps."""
    found: dict[str, str] = {}
    for line in lines(out):
        match = re.match(r"([+-]).*?(?:::)?([^:/]+)-([^-]+)-([^-]+)$", line)
        if match and match[1] == "+":
            found[match[2]] = f"{match[3]} {match[4]}"
        elif match:
            found.pop(match[2], None)
    if not found:
        raise ValueError("no package in the history")
    return found


def origin(out: str) -> dict[str, Any]:
    """`direct_url.json`: {url, commit, editable}; commit is "" where it is not from version control."""
    try:
        told: dict[str, Any] = json.loads(out)
        return {
            "url": str(told["url"]),
            "commit": str(told.get("vcs_info", {}).get("commit_id", "")),
            "editable": bool(told.get("dir_info", {}).get("editable", False)),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a direct_url.json: {error}") from None


def frozen(out: str) -> dict[str, str]:
    """`pip freeze` or `pip list --format=freeze`: name -> version, or where it is from. An editable install without a
    name of its own is named by its path."""
    found = {}
    for line in lines(out):
        pinned = re.match(r"([A-Za-z0-9][\w.-]*)(?:==| @ )(\S+)$", line)
        editable = re.match(r"-e (\S+?)(?:#egg=([\w.-]+))?$", line)
        if pinned:
            found[name_of(pinned[1])] = pinned[2]
        elif editable:
            found[name_of(editable[2]) if editable[2] else editable[1]] = f"editable {editable[1]}"
    if not found:
        raise ValueError("no package in what pip says")
    return found
