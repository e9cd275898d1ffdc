"""What is sent to nodes runs on Python 3.6 with nothing installed."""

from __future__ import annotations

import ast
import sys

import pytest

from llmctl.resources import onnode_file

FILES = sorted(onnode_file("").glob("*.py"))
NEWER_MODULES = {"dataclasses", "contextvars", "graphlib", "zoneinfo", "tomllib"}
NEWER_WORDS = {
    "capture_output", "text", "missing_ok", "dirs_exist_ok", "process_group", "umask",
}  # fmt: skip
"""Keyword arguments of subprocess, pathlib and shutil that 3.6 does not have."""
NEWER_NAMES = {
    "removeprefix", "removesuffix", "time_ns", "monotonic_ns", "perf_counter_ns", "fromisoformat", "pidfd_open",
    "prod", "isqrt", "cache", "cached_property", "breakpoint", "nullcontext", "ThreadingHTTPServer", "metadata",
    "resources", "waitstatus_to_exitcode", "is_relative_to", "unlink_missing", "memfd_create", "dev_fd",
}  # fmt: skip


def newer(text: str) -> list[str]:
    """What in a program needs more than Python 3.6."""
    found = []
    for node in ast.walk(ast.parse(text, feature_version=(3, 6))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            found += [m for m in modules if m.split(".")[0] in NEWER_MODULES or m.split(".")[0] not in stdlib()]
            found += [name for name in names if name in NEWER_NAMES | {"annotations"}]
        elif isinstance(node, ast.Call):
            found += [word.arg for word in node.keywords if word.arg in NEWER_WORDS]
        elif isinstance(node, ast.Attribute) and node.attr in NEWER_NAMES:
            found.append(node.attr)
        elif isinstance(node, ast.Name) and node.id in NEWER_NAMES:
            found.append(node.id)
    return found


def stdlib() -> frozenset[str]:
    return sys.stdlib_module_names


def test_there_is_something_to_send() -> None:
    assert {"probe.py", "supervisor.py"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file_runs_on_python_3_6(path) -> None:
    assert newer(path.read_text(encoding="utf-8")) == []
