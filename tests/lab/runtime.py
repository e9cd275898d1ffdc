"""A container runtime that runs what it is told in a process namespace of its own and writes every call down.

It stands on nodes as docker, podman or apptainer, and takes only the options that these have. As with the real ones, a
container of docker is a child of its daemon and gets nothing of the client's environment but what `--env` names; one of
podman is its monitor's child; apptainer's is a plain child that inherits everything. Below PLACE lie `calls.jsonl`,
`images.json` (name -> id) and `containers/`.
"""

from __future__ import annotations

import array
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, NoReturn

PLACE = Path("/run/recorded")
WITH_VALUE = {
    "--name", "--label", "--env", "-e", "--env-file", "--network", "--user", "--workdir", "--entrypoint", "--mount",
    "--volume", "-v", "--ipc", "--shm-size", "--gpus", "--device", "--ulimit", "--group-add", "--userns",
}  # fmt: skip
WITHOUT = {"--rm", "--privileged", "--init"}
OF_APPTAINER = {"--nv", "--rocm", "--no-home"}
OF_DOCKER_ONLY, OF_PODMAN_ONLY = {"--gpus"}, {"--userns"}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def fail(code: int, text: str) -> NoReturn:
    """End as a runtime does that refuses."""
    print(text, file=sys.stderr)
    sys.exit(code)


def options(words: list[str], with_value: set[str], without: set[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The options, each with its values, and the words from the first that is none on."""
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        name, sign, value = rest.pop(0).partition("=")
        if name in with_value:
            found.setdefault(name, []).append(value if sign else rest.pop(0))
        elif name in without and not sign:
            found.setdefault(name, []).append("")
        else:
            fail(125, f"unknown flag: {name}")
    return found, rest


def write(path: Path, value: Any) -> None:
    """Write aside, then rename."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value), encoding="utf-8")
    aside.rename(path)


def mounts(given: dict[str, list[str]]) -> list[str]:
    """The places that are there inside. Fails as docker does when one is not there outside."""
    places = []
    for mount in given.get("--mount", []):
        fields = dict(field.partition("=")[::2] for field in next(csv.reader([mount])))
        if fields.pop("type") != "bind" or set(fields) - {"source", "destination", "ro"}:
            fail(125, f"invalid mount: {mount}")
        if not Path(fields["source"]).exists():
            fail(125, f"bind source path does not exist: {fields['source']}")
        places.append(fields["destination"])
    return places


def inside(where: str, places: list[str]) -> bool:
    """Whether a path lies in one of the mounted places."""
    return any(where == place or where.startswith(place + "/") for place in places)


def images() -> dict[str, str]:
    """The images that are there."""
    found: dict[str, str] = json.loads((PLACE / "images.json").read_text(encoding="utf-8"))
    return found


def run(runtime: str, words: list[str]) -> int:
    """`run`: start a container, pass signals on to it, give its exit code."""
    allowed = WITH_VALUE - (OF_PODMAN_ONLY if runtime == "docker" else OF_DOCKER_ONLY)
    given, rest = options(words, allowed, WITHOUT)
    if rest[0] not in images():
        fail(125, f"Unable to find image '{rest[0]}' locally")
    name, where = given["--name"][0], given["--workdir"][0]
    if any(each["name"] == name for each in containers()):
        fail(125, f'Conflict. The container name "/{name}" is already in use')
    if not inside(where, mounts(given)):
        fail(126, f"chdir to cwd {where} failed: no such file or directory")
    environment = {"PATH": os.environ["PATH"], "HOME": "/root", "HOSTNAME": socket.gethostname()}
    for word in given.get("--env", []):
        key, sign, value = word.partition("=")
        environment |= {key: value} if sign else {key: os.environ[key]} if key in os.environ else {}
    labels = dict(label.partition("=")[::2] for label in given.get("--label", []))
    order = {"name": name, "labels": labels, "env": environment, "cwd": where,
             "argv": [*given["--entrypoint"], *rest[1:]]}  # fmt: skip
    pid, told = (ask if runtime == "docker" else beside)(order)
    for signum in SIGNALS:
        signal.signal(signum, lambda number, _: os.kill(pid, number))
    while not told.exists():
        time.sleep(0.02)
    code = int(told.read_text())
    told.unlink()
    return code


def ask(order: dict[str, Any]) -> tuple[int, Path]:
    """Let the daemon start a container, with our output."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(PLACE / "socket"))
        handles = array.array("i", [1, 2])
        link.sendmsg([json.dumps(order).encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)])
        answer = json.loads(link.makefile().readline())
    return int(answer["pid"]), Path(answer["exit"])


def beside(order: dict[str, Any]) -> tuple[int, Path]:
    """Let a monitor of our own start a container, as podman does: it outlives us."""
    read, into = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(read)
            contain(order, 1, 2, lambda answer: os.write(into, answer))
        os._exit(0)
    os.close(into)
    answer = json.loads(os.fdopen(read).readline())
    return int(answer["pid"]), Path(answer["exit"])


def contain(order: dict[str, Any], out: int, errors: int, answer: Any) -> NoReturn:
    """Run a container to its end: its first process has number 1 inside, and its end ends all of it."""
    identity = uuid.uuid4().hex[:12]
    argv = ["unshare", "--pid", "--fork", "--kill-child", *order["argv"]]
    child = subprocess.Popen(
        argv, env=order["env"], cwd=order["cwd"], stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
        start_new_session=True,
    )  # fmt: skip
    listed = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    while not (first := listed.read_text().split()) and child.poll() is None:
        time.sleep(0.01)
    pid = int(first[0]) if first else child.pid
    path = PLACE / "containers" / identity
    write(path, {"id": identity, "name": order["name"], "labels": order["labels"], "pid": pid})
    answer(json.dumps({"pid": pid, "exit": f"{path}.exit"}).encode() + b"\n")
    code = child.wait()
    path.unlink()
    aside = path.with_suffix(".new")
    aside.write_text(str(128 - code if code < 0 else code))
    aside.rename(path.with_suffix(".exit"))
    os._exit(0)


def daemon() -> NoReturn:
    """Start what clients ask for."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(PLACE / "socket"))
        server.listen()
        while True:
            link, _ = server.accept()
            text, extra, _, _ = link.recvmsg(1 << 20, socket.CMSG_SPACE(8))
            out, errors = array.array("i", extra[0][2])
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                contain(json.loads(text), out, errors, link.send)
            for handle in (out, errors, link.detach()):
                os.close(handle)


def containers() -> list[dict[str, Any]]:
    """Those that run."""
    found = []
    for path in (PLACE / "containers").glob("?" * 12):
        try:
            found.append(json.loads(path.read_text()))
        except FileNotFoundError:
            continue
    return found


def ps(words: list[str]) -> int:
    """`ps --all --quiet --filter label=...`: their ids."""
    given, rest = options(words, {"--filter"}, {"--all", "--quiet"})
    if rest or not {"--all", "--quiet"} <= given.keys():
        fail(125, f"unknown words: {words}")
    wanted = [filtered.removeprefix("label=").partition("=")[::2] for filtered in given.get("--filter", [])]
    for each in containers():
        if all(each["labels"].get(name) == value for name, value in wanted):
            print(each["id"])
    return 0


def stop(words: list[str]) -> int:
    """`stop -t SECONDS ID`: SIGTERM to the first process, then SIGKILL. `rm --force ID`: SIGKILL."""
    given, names = options(words, {"-t"}, {"--force"})
    for name in names:
        found = [each for each in containers() if name in (each["id"], each["name"])]
        if not found:
            fail(1, f"No such container: {name}")
        deadline = time.monotonic() + float(given.get("-t", ["0"])[0])
        if "-t" in given:
            os.kill(found[0]["pid"], signal.SIGTERM)
        while time.monotonic() < deadline and (PLACE / "containers" / found[0]["id"]).exists():
            time.sleep(0.02)
        if (PLACE / "containers" / found[0]["id"]).exists():
            os.kill(found[0]["pid"], signal.SIGKILL)
        while (PLACE / "containers" / found[0]["id"]).exists():
            time.sleep(0.02)
    return 0


def apptainer(words: list[str]) -> int:
    """`exec`: become the command, with the whole environment."""
    if words[0] == "version":
        print("1.3.4")
        return 0
    if words[0] != "exec":
        fail(1, f"unknown command {words[0]}")
    given, rest = options(words[1:], {"--mount", "--bind"}, OF_APPTAINER)
    if not Path(rest[0]).is_file():
        fail(255, f"could not open image {rest[0]}")
    if not inside(str(Path.cwd()), mounts(given)):
        fail(255, f"no {Path.cwd()} inside")
    return os.execvp(rest[1], rest[1:])


def main(runtime: str, words: list[str]) -> int:
    """Write the call down and do it."""
    if words == ["daemon"]:
        daemon()
    shown = {name: value for name, value in os.environ.items() if name.startswith("LLMCTL_")}
    with (PLACE / "calls.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"runtime": runtime, "argv": words, "env": shown}) + "\n")
    if runtime == "apptainer":
        return apptainer(words)
    if runtime == "docker" and not (PLACE / "socket").exists():
        fail(1, "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
    if words[0] == "run":
        return run(runtime, words[1:])
    if words[0] == "ps":
        return ps(words[1:])
    if words[0] in ("stop", "rm"):
        return stop(words[1:])
    if words[0] == "version" and words[1] == "--format":
        print("24.0.7" if runtime == "docker" else "4.9.3")
        return 0
    if words[:3] == ["image", "inspect", "--format"] and words[3] == "{{.Id}}":
        if words[4] not in images():
            fail(1, f"Error: No such image: {words[4]}")
        print(images()[words[4]])
        return 0
    fail(125, f"unknown command: {' '.join(words)}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]).name, sys.argv[1:]))
