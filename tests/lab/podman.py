"""A real podman on the nodes of a lab, with an image that holds no file: what runs inside is the node's own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shlex
import sys
import tarfile

from tests.lab.lab import Lab, LabNode

IMAGE = "localhost/llmctl-real:1"
PLACE = "/run/podman-lab"
WRAPPER = f"""#!/bin/sh
exec /usr/bin/podman --root {PLACE}/root --runroot {PLACE}/run --tmpdir {PLACE}/tmp --storage-driver vfs \\
    --cgroup-manager cgroupfs --events-backend file "$@"
"""
FOLDERS = ("dev", "etc", "opt", "proc", "root", "run", "sys", "tmp", "usr", "var")
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
ARGS = (
    # Without the right to raise limits podman would fail on those that it sets by itself.
    "--cgroups=disabled", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096",
    "--volume=/usr:/usr:ro", "--volume=/opt:/opt:ro",
    *(f"--volume={path}:{path}:ro" for path in dict.fromkeys([sys.prefix, sys.base_prefix])),
)  # fmt: skip
"""What a recipe adds so that it starts in a lab."""


def install(lab: Lab) -> None:
    """Give every node its own podman and the image. Raises RuntimeError where a container cannot be started."""
    for node in lab.nodes:
        lab.write(node, "/usr/local/bin/podman", WRAPPER, mode="755")
        lab.write(node, f"{PLACE}/image.b64", base64.b64encode(archive()).decode())
        # crun takes no second hierarchy of control groups beside the first; the node's view is its own.
        lab.exec(node, "umount /sys/fs/cgroup/unified")
        ask(lab, node, f"base64 -d {PLACE}/image.b64 >{PLACE}/image.tar && podman load -q -i {PLACE}/image.tar")
        words = shlex.join(["podman", "run", "--rm", "--network=host", *ARGS, IMAGE, "/bin/echo", "in a box"])
        if ask(lab, node, words).strip() != "in a box":
            raise RuntimeError("podman ran something else")


def ask(lab: Lab, node: LabNode, words: str) -> str:
    """What a command prints. Raises RuntimeError when it fails."""
    done = lab.exec(node, words)
    if not done.ok:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def archive() -> bytes:
    """The image as `docker save` would write it; the same bytes, so the same id, on every node."""
    layer = _tar({**dict.fromkeys(FOLDERS, None), **LINKS})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode()
    return _tar({"manifest.json": manifest, "config.json": config, "layer.tar": layer})


def _tar(entries: dict[str, bytes | str | None]) -> bytes:
    """Folders (None), links (text) and files (bytes)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()
