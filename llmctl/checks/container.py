"""Whether a recipe's container can be started on every node, and is the same one."""

from __future__ import annotations

from collections.abc import Mapping

from llmctl.checks.facts import Severity
from llmctl.checks.parsers.text import text
from llmctl.checks.rows import Row
from llmctl.quoting import sh_quote

_VERSION = {
    "docker": "docker version --format '{{.Server.Version}}'",
    "podman": "podman version --format '{{.Client.Version}}'",
    "apptainer": "apptainer version",
}
"""docker's server is asked: without it the client starts nothing."""


def container_rows(container: Mapping[str, str]) -> list[Row]:
    """`container` holds `runtime` and `image`, or nothing."""
    if not container:
        return []
    runtime, image = container["runtime"], sh_quote(container["image"])
    return [
        Row(
            name="container.runtime", run=_VERSION[runtime], parse=text, severity=Severity.WARNING,
            must=f"{runtime} cannot start containers here",
            source="`docker version` of the server, `podman version`, `apptainer version`",
            why="the run's containers do not start",
            remedy="install it, start its service, and let the account use it (groups of `id`)",
        ),
        Row(
            name="container.image", run=_identity(runtime, image), parse=text,
            must=f"the image {container['image']} is not there",
            source="`image inspect` (its id); of a file of apptainer its own id and its size",
            why="nodes run different packages under one name",
            remedy="bring the same image to every node: docker save IMAGE, llmctl push, docker load",
        ),
    ]  # fmt: skip


def _identity(runtime: str, image: str) -> str:
    if runtime != "apptainer":
        return f"{runtime} image inspect --format '{{{{.Id}}}}' {image}"
    # A SIF file's header holds the id that it got when it was built; to digest all of it takes minutes.
    return f"s=$(stat -L -c %s {image}) && i=$(od -An -tx1 -j48 -N16 {image} | tr -d ' \\n') && echo \"$i $s\""
