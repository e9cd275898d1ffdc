"""Make a Python environment on a node, or tell what one holds. Standard library, Python 3.6, one file.

It comes as the text of `python3 -c`; the first line of standard input is a JSON request with "verb":
    look    what is at "path", what it holds now, and what was recorded when it was made
    make    an environment from "files" (pip's or conda's), with "wheels" from that folder and no index
    drop    take away what `make` made there, and the folders of "folders" that are empty then
The environment lies in a folder of its own beside "path", which is a link to it: programs in an environment hold its
path, so it cannot be renamed, but a link can, at once and whole. Each line of the answer is MARK and a JSON object:
{"step": text}, {"answer": ...} or {"refused": {what, why, hint}}.
"""

import csv
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing

MARK = "llmctl-push "
RECORD = "llmctl-env.json"
EVERY = 1.0
"""Seconds between two signs of life."""
RUNNING: "typing.List[subprocess.Popen[bytes]]" = []
"""The process that works, to be ended with this one."""
SAYING = threading.Lock()


class Refused(Exception):
    """What cannot be done, for a person: what, why, hint."""

    def __init__(self, what, why="", hint=""):
        super().__init__(what)
        self.words = {"what": what, "why": why, "hint": hint}


def say(**words):
    try:
        with SAYING:
            sys.stdout.write("\n" + MARK + json.dumps(words) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:  # the launcher is gone
        for child in RUNNING:
            os.killpg(child.pid, signal.SIGKILL)
        os._exit(1)


class Place:
    """The paths of one environment."""

    def __init__(self, path):
        self.path = os.path.abspath(os.path.expanduser(path))
        self.parent, self.name = os.path.split(self.path)

    def beside(self, kind):
        return os.path.join(self.parent, ".%s.llmctl-%s" % (self.name, kind))

    @property
    def folders(self):
        """Every environment that was ever begun for this path."""
        return sorted(glob.glob(glob.escape(self.beside("env-")) + "*"))

    @property
    def current(self):
        """Our folder that the path leads to; None when nothing lies there, or something else."""
        goal = os.path.join(self.parent, os.readlink(self.path)) if os.path.islink(self.path) else None
        return goal if goal in self.folders else None

    def must_be_free(self):
        """Raises Refused when something lies there that is not ours."""
        if os.path.lexists(self.path) and self.current is None:
            raise Refused("something else lies there", self.path, "give another place with --env-path")


def load(folder):
    try:
        with open(os.path.join(folder, RECORD)) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(folder):
    """Name -> [version, sha256 over the files and their hashes]. Programs in bin/ hold the folder's path and are left
    out, as are caches, which have no hash."""
    found = {}
    for place in sorted(
        glob.glob(os.path.join(glob.escape(folder), "lib", "python3*", "site-packages", "*.dist-info"))
    ):
        name, _, version = os.path.basename(place)[: -len(".dist-info")].rpartition("-")
        try:
            with open(os.path.join(place, "RECORD"), newline="", encoding="utf-8") as file:
                rows = sorted((row[0], row[1]) for row in csv.reader(file) if len(row) > 1 and row[1])
            listed = "\n".join("%s %s" % row for row in rows if not row[0].startswith("../"))
            found[canonical(name)] = [version, hashlib.sha256(listed.encode("utf-8")).hexdigest()]
        except OSError:
            found[canonical(name)] = [version, "no RECORD"]
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "conda-meta", "*.json"))):
        with open(path, encoding="utf-8") as file:
            told = json.load(file)
        found["conda:" + told["name"]] = [
            "%s=%s" % (told["version"], told.get("build", "")),
            told.get("sha256") or told.get("md5") or "no digest",
        ]
    return found


def python_of(folder):
    """The version of the environment's interpreter; empty when it does not run."""
    argv = [os.path.join(folder, "bin", "python"), "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]
    try:
        return subprocess.check_output(argv, stderr=subprocess.DEVNULL, timeout=30).decode().strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def look(request):
    place = Place(request["path"])
    place.must_be_free()
    folder = place.current
    record = load(folder) if folder else None
    return {
        "path": place.path,
        "record": record,
        "python": python_of(folder) if folder else "",
        "packages": packages(folder) if folder else {},
        "missing": missing_folders(place.parent),
    }


def run(argv, what, hint="", **environment):
    """Run a program, tell its lines. Raises Refused with its errors."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env.update(environment, PYTHONNOUSERSITE="1", PYTHONIOENCODING="utf-8", LC_ALL="C.UTF-8")
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            cwd="/",
            preexec_fn=os.setsid,
        )
    except OSError as error:
        raise Refused(what, "%s: %s" % (argv[0], error.strerror), hint) from None
    RUNNING.append(child)
    lines = []
    for line in child.stdout or ():
        lines.append(line.decode("utf-8", "replace").rstrip())
        del lines[:-200]
        say(step=lines[-1][:200])
    RUNNING.remove(child)
    if child.wait():
        errors = [line for line in lines if re.match(r"\s*(ERROR|error:|CondaError|PackagesNotFound)", line)] or lines
        raise Refused(what, "; ".join(line.strip() for line in errors[-8:])[-1500:], hint)
    return lines


def heartbeat():
    """Tell that work goes on; once nobody listens any more, this ends the program."""
    while True:
        time.sleep(EVERY)
        say(alive=True)


def hold(place):
    """Be the only one at work there: nodes may share the folder."""
    lock = os.open(place.beside("lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say(step="waiting for another node's work there")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def release(place):
    if os.path.lexists(place.beside("lock")):
        os.unlink(place.beside("lock"))


def make(request):
    place = Place(request["path"])
    try:
        os.makedirs(place.parent, exist_ok=True)
    except OSError as error:
        raise Refused("the folder cannot be made", str(error), "give another place with --env-path") from None
    held = hold(place)
    place.must_be_free()
    folder = place.current
    record = load(folder) if folder else None
    if record and record["inputs"] == request["inputs"] and sound(folder, record):
        release(place)
        return told(place, record, False)  # nodes that share this folder: another one made it
    for number in range(1, 1000):
        folder = "%s%s-%d" % (place.beside("env-"), request["inputs"][:12], number)
        if not os.path.exists(folder):
            break
    try:
        notes = build(folder, request)
        record = {
            "inputs": request["inputs"],
            "python": python_of(folder),
            "packages": packages(folder),
            "notes": notes,
        }
        with open(os.path.join(folder, RECORD), "w") as file:
            json.dump(record, file)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        release(place)
        raise
    fresh = place.beside("link")
    if os.path.lexists(fresh):
        os.unlink(fresh)
    os.symlink(os.path.basename(folder), fresh)
    os.replace(fresh, place.path)
    for old in place.folders:
        if old != folder and not in_use(old):
            shutil.rmtree(old, ignore_errors=True)
    clear(place)
    os.close(held)
    return told(place, record, True)


def told(place, record, fresh):
    return dict(record, path=place.path, fresh=fresh)


def sound(folder, record):
    """Whether it still holds what was recorded, and runs."""
    return packages(folder) == record["packages"] and python_of(folder) == record["python"]


def missing_folders(path):
    """The folders that are not there yet, the deepest first."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def build(folder, request):
    """Make the environment; gives remarks."""
    inputs = folder + ".inputs"
    shutil.rmtree(inputs, ignore_errors=True)
    try:
        for name, text in request["files"].items():
            os.makedirs(os.path.dirname(os.path.join(inputs, name)), exist_ok=True)
            with open(os.path.join(inputs, name), "w", encoding="utf-8") as file:
                file.write(text)
        os.chmod(inputs, 0o700)
        first = os.path.join(inputs, request["first"])
        if request["conda"]:
            make_conda(folder, first, request)
        wheels = request["wheels"]
        bootstrap = sorted(glob.glob(os.path.join(glob.escape(wheels), "pip-*.whl"))) if wheels else []
        if not request["conda"]:
            make_venv(folder, request["python"], with_pip=not bootstrap)
        if request["kind"] == "conda":
            return []
        return install(folder, first, wheels, bootstrap)
    finally:
        shutil.rmtree(inputs, ignore_errors=True)


def make_venv(folder, python, with_pip):
    say(step="making the environment")
    hint = "see there: %s --version; name a Python 3.6 or newer that has the module venv with --env-python" % python
    run([python, "-m", "venv", "--without-pip", folder], "the environment cannot be made", hint)
    if with_pip:
        hint = "install the package python3-venv there, or put the wheel of pip into the wheelhouse"
        bootstrap = [os.path.join(folder, "bin", "python"), "-m", "ensurepip", "--default-pip"]
        run(bootstrap, "pip cannot be put into the environment", hint)


def make_conda(folder, first, request):
    say(step="making the environment with conda")
    conda = shutil.which(request["python"]) or next(
        (path for path in conda_places(os.path.basename(request["python"])) if os.access(path, os.X_OK)), None
    )
    if conda is None:
        raise Refused("there is no %s" % request["python"], "", "give its path: --env-python /opt/conda/bin/conda")
    argv = [conda, "create", "--yes", "--quiet", "--prefix", folder]
    if request["kind"] == "conda":
        argv += ["--file", first]
    else:
        argv += ["python" + ("=" + request["version"] if request["version"] else ""), "pip"]
    hint = "see there: %s config --show channels; are they reached, and do they have what the file names?" % conda
    run(argv, "conda cannot make the environment", hint)


def conda_places(name):
    """Where a conda lies that is not on PATH."""
    roots = ["~/miniconda3", "~/anaconda3", "~/miniforge3", "/opt/conda", "/opt/miniconda3", "/usr/local/miniconda3"]
    own = [os.environ["CONDA_EXE"]] if os.environ.get("CONDA_EXE") else []
    return own + [os.path.join(os.path.expanduser(root), "bin", name) for root in roots]


def install(folder, first, wheels, bootstrap):
    """pip's work; gives what `pip check` complains about."""
    python = os.path.join(folder, "bin", "python")
    pip = [python, os.path.join(bootstrap[-1], "pip")] if bootstrap else [python, "-m", "pip"]
    argv = pip + ["install", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "-r", first]
    environment = {}
    if wheels:
        argv += ["--no-index", "--find-links", wheels, "--only-binary", ":all:"]
        environment = {key: "" for key in os.environ if key.startswith("PIP_")}
        environment["PIP_CONFIG_FILE"] = os.devnull
    hint = "the wheelhouse lacks what is named, or has no build of it for this machine"
    if not wheels:
        hint = "mend the file; where the node reaches no index: pip download -r FILE -d wheels, then --env wheels"
    run(argv, "pip cannot install it", hint, **environment)
    try:
        run(pip + ["check"], "packages do not fit together", "", **environment)
    except Refused as refused:
        return ["%s: %s" % (refused.words["what"], refused.words["why"])]
    return []


def in_use(folder):
    """Whether a process that we may look at has loaded something from it."""
    for path in glob.glob("/proc/[0-9]*/maps"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                if folder + "/" in file.read():
                    return True
        except OSError:
            pass
    return False


def clear(place):
    """Take away what is only needed while an environment is made."""
    for kind in ("wheels", "link", "lock"):
        path = place.beside(kind)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
    digests = os.path.join(place.parent, "..%s.llmctl-wheels.llmctl-digests" % place.name)
    if os.path.exists(digests):
        os.unlink(digests)


def drop(request):
    place = Place(request["path"])
    if not os.path.isdir(place.parent):
        return {"dropped": False, "path": place.path}
    hold(place)
    there = place.current is not None
    if there:
        os.unlink(place.path)
    for folder in place.folders:
        there = True
        shutil.rmtree(folder)
    clear(place)
    for folder in request["folders"]:
        try:
            os.rmdir(folder)
        except OSError:
            break  # others use it by now
    return {"dropped": there, "path": place.path}


def main():
    request = json.loads(sys.stdin.buffer.readline().decode("ascii"))
    threading.Thread(target=heartbeat, daemon=True).start()
    code = 3
    try:
        say(answer={"look": look, "make": make, "drop": drop}[request["verb"]](request))
        code = 0
    except Refused as refused:
        say(refused=refused.words)
    except OSError as error:
        say(refused={"what": "the file system refuses it", "why": str(error), "hint": ""})
    os._exit(code)  # a thread that may be writing must not be waited for


if __name__ == "__main__":
    main()
