"""Who uses which device of this machine: one small file a device and user. Standard library, Python 3.6, one file.

It comes over standard input with a last line `main("<base64 of a JSON request>")`; the answer is one JSON object behind
MARKER. The request has `verb`, `folder`, `run_id`, and
    take      kind, devices (numbers), user, ask (whether the vendor's tool is asked for processes on the devices);
              answers {"taken": [...]} or {"busy": [who]}
    adopt     run_dir, node: from now on the lease holds as long as the run's supervisor lives
    renew     it holds for another TTL seconds
    release   it is over
    drop      removes this user's leases that hold no longer
    list      kind (null for all): {"leases": [who]}
`who` is {device, user, run_id, since, pid, alive}. The folder belongs to all users like /tmp. A file counts only when
its owner is the user in its name; what others wrote is shown and never used as a path, a command or a process to end.
"""

import base64
import fcntl
import json
import os
import pwd
import stat
import sys
import time

MARKER = "LLMCTL-JSON "
TTL = 180.0
"""Seconds that a lease holds without renewal where no process is known that holds it."""
PATIENCE = 10.0
LARGEST = 4096
TOOLS = ":/usr/local/bin:/usr/local/sbin:/usr/local/Ascend/driver/tools"
TOOL_SECONDS = 20


class Refused(Exception):
    """The folder, or somebody in it, is not as it must be."""


def read_bytes(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except (IOError, OSError):
        return b""


def boot_id():
    return read_bytes("/proc/sys/kernel/random/boot_id").decode("ascii", "replace").strip()


def start_time(pid):
    fields = read_bytes("/proc/%d/stat" % pid).rpartition(b")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in (b"Z", b"X") else None


def user_name(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "uid %d" % uid


def shown(value):
    """A word of somebody else's file, harmless to print."""
    return "".join(c if c.isprintable() else "?" for c in value[:80]) if isinstance(value, str) else ""


def number(value):
    """A number of somebody else's file that a pid or a time can be, else 0."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e11 else 0


def opened(folder):
    """The folder, locked against others that take leases; made like /tmp when it is not there."""
    try:
        os.mkdir(folder)
        os.chmod(folder, 0o1777)  # noqa: S103 - all users of the machine share it, as they do /tmp
    except FileExistsError:
        pass
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    told = os.fstat(place)
    if told.st_mode & 0o1002 != 0o1002:
        mode = stat.S_IMODE(told.st_mode)
        raise Refused("%s belongs to %s and has mode %o, not 1777" % (folder, user_name(told.st_uid), mode))
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return place
        except OSError:
            if time.monotonic() > deadline:
                os.close(place)
                raise Refused("another process holds %s for more than %d s" % (folder, PATIENCE)) from None
            time.sleep(0.05)


def read_lease(folder, name):
    """What one file says, as `who` with its path; None for a file that does not count."""
    stem, _, owner = name.rpartition(".")
    device, path = stem, os.path.join(folder, name)
    if not device or not owner.isdigit():
        return None
    try:
        place = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        told = os.fstat(place)
        if not stat.S_ISREG(told.st_mode) or told.st_uid != int(owner):
            return None
        value = json.loads(os.read(place, LARGEST).decode("utf-8", "replace"))
    except (OSError, ValueError, RecursionError):
        value = {}
    finally:
        os.close(place)
    value = value if isinstance(value, dict) else {}
    who = {
        "device": shown(device),
        "user": user_name(told.st_uid),
        "run_id": shown(value.get("run_id")),
        "since": number(value.get("since")),
        "pid": int(number(value.get("pid"))) or None,
        "own": told.st_uid == os.geteuid(),
        "path": path,
    }
    born = start_time(who["pid"]) if who["pid"] else None
    held = born is not None and born == value.get("born")
    fresh = abs(time.time() - told.st_mtime) < TTL
    who["alive"] = value.get("boot_id") == boot_id() and (held or fresh or runs(who["run_id"]))
    return who


def runs(run_id):
    """Whether a process of the run lives here that this user may look at."""
    wanted = ("LLMCTL_RUN_ID=" + run_id).encode()
    pids = (name for name in os.listdir("/proc") if name.isdigit())
    return bool(run_id) and any(wanted in read_bytes("/proc/%s/environ" % pid).split(b"\0") for pid in pids)


def leases(folder):
    found = [read_lease(folder, name) for name in sorted(os.listdir(folder))]
    return [who for who in found if who]


def write_lease(folder, device, value):
    """A new file of this user; one of his that holds no longer gives way."""
    path = os.path.join(folder, "%s.%d" % (device, os.geteuid()))
    if os.path.lexists(path):
        os.remove(path)
    place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        os.write(place, json.dumps(value).encode())
    finally:
        os.close(place)
    return path


def take(folder, run_id, kind, devices, user, ask):
    wanted = ["%s-%d" % (kind, each) for each in devices]
    used = on_devices(kind) if ask else []  # before the lock: such a tool may take seconds
    place = opened(folder)
    try:
        busy = [who for who in leases(folder) if who["device"] in wanted and who["alive"] and who["run_id"] != run_id]
        leased = {who["device"] for who in busy}
        busy += [w for w in used if w["device"] in wanted and w["device"] not in leased and w["run_id"] != run_id]
        if busy:
            return {"busy": busy}
        value = {"run_id": run_id, "by": user, "since": time.time(), "boot_id": boot_id()}
        written = []
        try:
            for device in wanted:
                written.append(write_lease(folder, device, value))
        except OSError:
            for path in written:
                os.remove(path)
            raise
        return {"taken": wanted}
    finally:
        os.close(place)


def own(folder, run_id):
    return [who for who in leases(folder) if who["own"] and who["run_id"] == run_id]


def adopt(folder, run_id, run_dir, node):
    try:
        state = json.loads(read_bytes(os.path.join(run_dir, "state", node + ".json")).decode())["supervisor"]
    except (ValueError, KeyError):
        state = {"pid": None, "born": None}  # pdsh reaches this node from another: its ranks hold the lease
    place = opened(folder)
    try:
        mine = own(folder, run_id)
        for who in mine:
            value = {"run_id": run_id, "since": who["since"], "boot_id": boot_id()}
            write_lease(folder, who["device"], dict(value, pid=state["pid"], born=state["born"]))
        return {"adopted": len(mine)}
    finally:
        os.close(place)


def renew(folder, run_id):
    mine = own(folder, run_id) if os.path.isdir(folder) else []
    for who in mine:
        os.utime(who["path"])
    return {"renewed": len(mine)}


def release(folder, run_id):
    if not os.path.isdir(folder):
        return {"released": 0}
    place = opened(folder)
    try:
        mine = own(folder, run_id)
        for who in mine:
            os.remove(who["path"])
        return {"released": len(mine)}
    finally:
        os.close(place)


def drop(folder):
    if not os.path.isdir(folder):
        return {"dropped": 0}
    place = opened(folder)
    try:
        stale = [who for who in leases(folder) if who["own"] and not who["alive"]]
        for who in stale:
            os.remove(who["path"])
        return {"dropped": len(stale)}
    finally:
        os.close(place)


def answer(*words):
    """What a vendor's tool prints; nothing where there is none."""
    import subprocess

    environment = dict(os.environ, PATH=os.environ.get("PATH", "") + TOOLS, LC_ALL="C")
    try:
        told = subprocess.check_output(words, timeout=TOOL_SECONDS, stderr=subprocess.DEVNULL, env=environment)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.decode("utf-8", "replace")


def cuda_processes():
    """(device number, pid) of all processes that compute on GPUs."""
    rows = [
        line.split(", ")
        for line in answer("nvidia-smi", "--query-gpu=uuid,index", "--format=csv,noheader").splitlines()
    ]
    index = {row[0]: row[1] for row in rows if len(row) == 2}
    told = answer("nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader").splitlines()
    pairs = [line.split(", ") for line in told]
    return [(int(index[p[0]]), int(p[1])) for p in pairs if len(p) == 2 and p[0] in index and p[1].isdigit()]


def npu_processes():
    """(device number, pid) of all processes on NPUs. `npu-smi info` has two rows a chip; their order numbers them."""
    head, _, processes = answer("npu-smi", "info").partition("Process id")
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in head.splitlines()]
    chips, npu = [], None
    for row in rows:
        words = row[0].split() if len(row) >= 3 else []
        if npu is None and words and words[0].isdigit():
            npu = words[0]
        elif npu is not None and len(row) >= 3:
            chips.append((npu, words[0] if words else "0"))
            npu = None
    found = []
    for line in processes.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        ids = tuple(cells[0].split())
        if len(cells) >= 3 and ids in chips and cells[1].isdigit():
            found.append((chips.index(ids), int(cells[1])))
    return found


def on_devices(kind):
    """Processes that the vendor's tool sees on devices, as `who`."""
    found = []
    for device, pid in cuda_processes() if kind == "cuda" else npu_processes() if kind == "npu" else []:
        run_id = [w[14:] for w in read_bytes("/proc/%d/environ" % pid).split(b"\0") if w.startswith(b"LLMCTL_RUN_ID=")]
        try:
            user = user_name(os.stat("/proc/%d" % pid).st_uid)
        except OSError:
            user = ""  # in another container, or gone
        found.append(
            {
                "device": "%s-%d" % (kind, device),
                "user": user,
                "run_id": shown(run_id[0].decode("utf-8", "replace")) if run_id else "",
                "since": since(pid),
                "pid": pid,
                "alive": True,
                "own": False,
            }
        )
    return found


def since(pid):
    """Unix seconds of a process' start; 0 when it is not seen."""
    born = start_time(pid)
    up = read_bytes("/proc/uptime").split()
    if born is None or not up:
        return 0
    return time.time() - float(up[0]) + born / os.sysconf("SC_CLK_TCK")


def listed(folder, kind):
    found = leases(folder) if os.path.isdir(folder) else []
    return {"leases": [who for who in found if kind is None or who["device"].startswith(kind + "-")]}


VERBS = {"take": take, "adopt": adopt, "renew": renew, "release": release, "drop": drop, "list": listed}


def main(encoded):
    request = json.loads(base64.b64decode(encoded).decode("utf-8"))
    verb = request.pop("verb")
    try:
        told = VERBS[verb](**request)  # type: ignore[operator]
    except (Refused, OSError) as error:
        told = {"error": str(error)}
    print("\n" + MARKER + json.dumps(told))
    sys.stdout.flush()
