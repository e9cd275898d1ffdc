"""What runs that are over left on this machine. Standard library, Python 3.6, one file.

It comes over standard input with a last line `main("<base64 of a JSON request>")`; the answer is one JSON object behind
MARKER. The request has `verb` and
    look    workdirs, older_than (days; null for no run folders):
            {"living": [run ids], "processes": [{pid, born, run_id, name, since}], "partial": [{path, run_id, bytes}],
             "folders": [{path, run_id, days, bytes}]}
    end     workdirs, processes ([pid, born] each), paths: {"ended": count, "left": [pids], "removed": count,
            "errors": [text]}
Only what belongs to the user who asks is looked at. A run lives when its supervisor does, or when a connection of its
launcher (sshd, Slurm's step) is above one of its processes.
"""

import base64
import json
import os
import shutil
import signal
import sys
import time

MARKER = "LLMCTL-JSON "
GRACE = 5.0
ENDINGS = (".partial", ".old")
STAGED = ("engine", "data", "prepared", "models")
QUIET = 3600.0
"""Seconds without a change after which a half-done copy of a run that nobody knows counts as left."""
HOLDERS = ("sshd", "slurmstepd")


def read_bytes(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except (IOError, OSError):
        return b""


def boot_id():
    return read_bytes("/proc/sys/kernel/random/boot_id").decode("ascii", "replace").strip()


def stat_of(pid):
    """(name, parent, start time) of a living process; None when it is gone."""
    head, _, rest = read_bytes("/proc/%d/stat" % pid).rpartition(b")")
    fields = rest.split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return head.partition(b"(")[2].decode("utf-8", "replace"), int(fields[1]), int(fields[19])


def own(path):
    """Whether something is there, no link, and of this user."""
    try:
        told = os.lstat(path)
    except OSError:
        return False
    return told.st_uid == os.geteuid() and not os.path.islink(path)


def lives(run_dir):
    """Whether a supervisor of this run folder does."""
    folder = os.path.join(run_dir, "state")
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        try:
            state = json.loads(read_bytes(os.path.join(folder, name)).decode())
            supervisor = state["supervisor"]
            here = state["state"] == "RUNNING" and state["boot_id"] == boot_id()
            found = stat_of(supervisor["pid"]) if here else None
            if found and found[2] == supervisor["born"]:
                return True
        except (ValueError, KeyError, TypeError):
            continue  # another file of that folder
    return False


def above(pid):
    """The names of the processes above one."""
    names = []  # type: list[str]
    found = stat_of(pid)
    while found and found[1] > 1 and len(names) < 1000:
        found = stat_of(found[1])
        names.append(found[0] if found else "")
    return names


def processes():
    """(all processes of runs, ids of runs that live)."""
    found, living = [], set()
    up = float((read_bytes("/proc/uptime").split() or [b"0"])[0])
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid() or not own("/proc/" + name):
            continue
        words = dict(w.split(b"=", 1) for w in read_bytes("/proc/%s/environ" % name).split(b"\0") if b"=" in w)
        run_id, stat = words.get(b"LLMCTL_RUN_ID", b"").decode("utf-8", "replace"), stat_of(int(name))
        if not run_id or stat is None:
            continue
        log_dir = words.get(b"LLMCTL_LOG_DIR", b"").decode("utf-8", "surrogateescape")
        held = any(each.startswith(HOLDERS) for each in above(int(name)))
        if held or (log_dir and lives(os.path.dirname(os.path.dirname(log_dir)))):
            living.add(run_id)
        since = time.time() - up + stat[2] / os.sysconf("SC_CLK_TCK")
        found.append({"pid": int(name), "born": stat[2], "run_id": run_id, "name": stat[0], "since": since})
    return found, living


def listing(folder):
    """The names in a folder; none where there is none."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def partial(workdir):
    """Half-done copies of a run's data, each with the time of its last change."""
    found = []
    for kind in STAGED:
        for name in listing(os.path.join(workdir, kind)):
            path = os.path.join(workdir, kind, name)
            stem, ending = os.path.splitext(name)
            if ending in ENDINGS and "." in stem and own(path):
                changed, size = tree(path)
                found.append({"path": path, "run_id": stem.partition(".")[2], "bytes": size, "changed": changed})
    return found


def tree(path):
    """(time of the last change, bytes) of a folder."""
    changed, size = os.lstat(path).st_mtime, 0
    for root, _, files in os.walk(path):
        for name in files:
            try:
                told = os.lstat(os.path.join(root, name))
            except OSError:
                continue
            changed, size = max(changed, told.st_mtime), size + told.st_size
    return changed, size


def old_folders(workdir, days):
    found = []
    for name in listing(os.path.join(workdir, "runs")):
        path = os.path.join(workdir, "runs", name)
        if not own(path) or not os.path.isdir(os.path.join(path, "state")):
            continue
        changed, size = tree(path)
        age = (time.time() - changed) / 86400
        if age >= days and not lives(path):
            found.append({"path": path, "run_id": name, "days": age, "bytes": size})
    return found


def look(workdirs, older_than):
    found, living = processes()
    parts = [each for workdir in workdirs for each in partial(workdir)]
    for workdir in workdirs:
        for name in listing(os.path.join(workdir, "runs")):
            if lives(os.path.join(workdir, "runs", name)):
                living.add(name)
    folders = [] if older_than is None else [each for w in workdirs for each in old_folders(w, older_than)]
    quiet = [each for each in parts if time.time() - each["changed"] > QUIET]
    return {
        "living": sorted(living),
        "processes": found,
        "partial": parts,
        "quiet": [each["path"] for each in quiet],
        "folders": folders,
    }


def same(pairs):
    """Those of [pid, born] that are still there."""
    found = [(pid, born, stat_of(pid)) for pid, born in pairs]
    return [(pid, born) for pid, born, stat in found if stat and stat[2] == born]


def send(pairs, signum):
    for pid, _ in same(pairs):
        try:
            if own("/proc/%d" % pid):
                os.kill(pid, signum)
        except OSError:
            continue


def end(workdirs, processes, paths):
    wanted = same(processes)
    send(wanted, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while same(wanted) and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(50):
        if not same(wanted):
            break
        send(wanted, signal.SIGKILL)
        time.sleep(0.1)
    errors, removed = [], 0
    allowed = {os.path.join(workdir, kind) for workdir in workdirs for kind in STAGED + ("runs",)}
    for path in paths:
        if os.path.dirname(path) not in allowed or not own(path) or lives(path):
            errors.append("%s is left alone: it changed meanwhile" % path)
            continue
        try:
            shutil.rmtree(path)
            removed += 1
        except OSError as error:
            errors.append("%s: %s" % (path, error.strerror or error))
    left = [pid for pid, _ in same(wanted)]
    return {"ended": len(wanted) - len(left), "left": left, "removed": removed, "errors": errors}


def main(encoded):
    request = json.loads(base64.b64decode(encoded).decode("utf-8"))
    told = end(**request) if request.pop("verb") == "end" else look(**request)
    print("\n" + MARKER + json.dumps(told))
    sys.stdout.flush()
