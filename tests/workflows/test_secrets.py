"""Planted secrets appear nowhere: no argument of any process, no output, no file but the private one that needs it."""

from __future__ import annotations

import base64
import gzip
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab
from tests.workflows.jobs import Factory, only_run, write_recipe

pytestmark = [pytest.mark.lab, pytest.mark.engine]
TOKEN = "hf_planted0f9c"
VALUE = f"two words'; echo {TOKEN} 密"
"""What the recipe gives to HF_TOKEN; quoted it looks different everywhere, its middle does not."""


class Watch:
    """Looks for secrets among the arguments of every process of this machine, the nodes' too, all the time."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.secrets = secrets
        self.seen: set[str] = set()
        self.looked = 0

    def look(self) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes()
            except OSError:
                continue
            words += unpacked(words)
            self.seen |= {f"{name}: {words!r}" for name, secret in self.secrets.items() if secret.encode() in words}
        self.looked += 1

    @contextmanager
    def ing(self) -> Iterator[None]:
        end = threading.Event()

        def run() -> None:
            while not end.wait(0.01):
                self.look()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


def unpacked(words: bytes) -> bytes:
    """What an argument holds in base64, compressed or not."""
    found = b""
    for packed in re.findall(rb"[A-Za-z0-9+/]{100,}={0,2}", words):
        with suppress(ValueError, OSError, EOFError):
            text = base64.b64decode(packed)
            text = gzip.decompress(text) if text.startswith(b"\x1f\x8b") else text
            found += text + unpacked(text)
    return found


def quietly(lab: Lab, watch: Watch, *words: str | Path) -> str:
    """Run llmctl, as a person with a careless umask; its output, in which there is no secret."""
    argv = ["sh", "-c", 'umask 0; exec "$@"', "sh", sys.executable, "-m", "llmctl", *map(str, words)]
    with watch.ing():
        done = subprocess.run(argv, env=lab.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
    said = done.stdout + done.stderr
    assert done.returncode in (0, 3), said
    for name, secret in watch.secrets.items():
        assert secret not in said, (name, words)
    return said


def holders(folder: Path, secret: str) -> set[str]:
    """The files below a folder that hold a secret."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)) for path in files if secret.encode() in path.read_bytes()}


def on_nodes(lab: Lab, secret: str) -> list[str]:
    """`MODE PATH` of every file of the nodes that holds a secret."""
    script = (
        'IFS= read -r secret; grep -rlF -e "$secret" /etc /root /home /tmp /run /var/log /dev/shm 2>/dev/null '
        "| xargs -r -d '\\n' stat -c '%a %n'"
    )
    return [line for node in lab.nodes for line in lab.exec(node, script, stdin=secret + "\n").stdout.splitlines()]


def key_lines(text: str) -> str:
    """What only the private part of a key holds."""
    return text.splitlines()[3]


@pytest.mark.parametrize("backend", ["ssh", "pdsh"])
def test_a_secret_is_nowhere_but_in_the_private_file_that_needs_it(
    fresh_lab: Factory, tmp_path: Path, backend: str
) -> None:
    lab = fresh_lab(count=2)
    if lab.site.password is None:
        pytest.skip("the nodes of a lab without root take no passwords")
    watch = Watch({"the password": lab.site.password, "the token": TOKEN})
    quietly(lab, watch, "setup-nodes", *lab.specs, "--accept-new", *lab.login_options())
    node_key = lab.read(lab.nodes[0], "/root/.ssh/llmctl_ed25519")
    assert node_key is not None
    own_key = (lab.home / "id_ed25519").read_text()
    watch.secrets = {**watch.secrets, "our key": key_lines(own_key), "the node's key": key_lines(node_key)}

    launch = {"backend": backend, "launcher": "torchrun" if backend == "ssh" else "deepspeed"}
    more: dict[str, Any] = {"deepspeed": {"stage": 2}} if backend == "pdsh" else {}
    recipe = write_recipe(tmp_path, lab, launch=launch, cluster={"env": {"HF_TOKEN": VALUE}}, **more)
    facts, runs = tmp_path / "facts.json", tmp_path / "runs"
    quietly(lab, watch, "check", recipe, "--save", facts, "--facts", "--verbose")
    quietly(lab, watch, "check", recipe, "--json")
    quietly(lab, watch, "check", recipe, "--via", "pdsh")
    quietly(lab, watch, "run", recipe, "--runs", runs)
    run = only_run(runs)
    bundle = tmp_path / "bug.tar.gz"
    asked = ["status", run, "--json"], ["logs", run], ["ps", "--json"], ["report", run]
    for words in (*asked, ["bug-report", run, "--output", bundle]):
        quietly(lab, watch, *words)

    assert watch.seen == set()
    assert watch.looked > 100
    for name in ("the password", "our key", "the node's key"):
        assert holders(tmp_path, watch.secrets[name]) == set(), name
    assert holders(lab.home, watch.secrets["our key"]) == {"id_ed25519"}
    assert holders(lab.home, watch.secrets["the password"]) == set()
    assert holders(lab.home, TOKEN) == set()
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path / "bundle", filter="data")
    assert list((tmp_path / "bundle").rglob("manifest.json"))
    assert on_nodes(lab, watch.secrets["the password"]) == []
    assert on_nodes(lab, watch.secrets["our key"]) == []
    assert on_nodes(lab, watch.secrets["the node's key"]) == ["600 /root/.ssh/llmctl_ed25519"]

    told = holders(run, TOKEN)
    assert told == {"recipe.yaml", "env.sh"}
    assert all((run / name).stat().st_mode & 0o077 == 0 for name in told)
    assert holders(tmp_path, TOKEN) == {recipe.name, *(f"runs/{run.name}/{name}" for name in told)}
    assert all(line.startswith("600 ") for line in on_nodes(lab, TOKEN)), on_nodes(lab, TOKEN)

    modes = {str(path.relative_to(lab.home)): path.stat().st_mode & 0o777 for path in [lab.home, *lab.home.rglob("*")]}
    wrong = {
        name: oct(mode) for name, mode in modes.items() if mode != (0o700 if (lab.home / name).is_dir() else 0o600)
    }
    assert wrong == {}
