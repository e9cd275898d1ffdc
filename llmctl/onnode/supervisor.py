"""Start one node's part of a run, watch it, tell about it, end it. Standard library, Python 3.6, one file.

    supervisor.py start RUN_DIR NODE RANK SHELL RUN_ID      returns at once
    supervisor.py prepare RUN_DIR NODE             what `start` does first; for nodes that another's launcher reaches
    supervisor.py poll RUN_DIR NODE                request on standard input: {"offsets": {file: bytes}, "tail": bytes};
                                                   files without an offset begin where the run was started last, and
                                                   at most `tail` bytes before their end
    supervisor.py cancel RUN_DIR NODE GRACE RUN_ID
    supervisor.py digest FOLDER                    the digest of a staged tree

Each prints one JSON object behind MARKER. It never ends a process by name: only those whose environment holds this
run's id, which every process of the run inherits.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback

MARKER = "LLMCTL-JSON "
HEARTBEAT = 2.0
POLL_BYTES = 256 * 1024
FOLLOWED = ("steps.jsonl",)


def state_path(run_dir, node):
    return os.path.join(run_dir, "state", node + ".json")


def cancel_path(run_dir, node):
    return os.path.join(run_dir, "state", node + ".cancel")


def began_path(run_dir, node):
    return os.path.join(run_dir, "state", node + ".began.json")


def followed(run_dir, node):
    """Path by name of the files that `poll` reads."""
    log_dir = os.path.join(run_dir, "logs", node)
    names = sorted(os.listdir(log_dir)) if os.path.isdir(log_dir) else []
    paths = {"logs/%s/%s" % (node, name): os.path.join(log_dir, name) for name in names if name.endswith(".log")}
    paths.update({"output/" + name: os.path.join(run_dir, "output", name) for name in FOLLOWED})
    return paths


def size_of(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def write_json(path, value):
    """Write aside, sync, rename: a reader never sees half a file."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    aside = "%s.%d" % (path, os.getpid())
    with open(aside, "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def read_json(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (IOError, OSError, ValueError):
        return None


def read_bytes(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except (IOError, OSError):
        return b""


def boot_id():
    return read_bytes("/proc/sys/kernel/random/boot_id").decode("ascii", "replace").strip()


def start_time(pid):
    """The kernel's start time of a process; with the pid it names one process for good. None when it is gone."""
    stat = read_bytes("/proc/%d/stat" % pid)
    fields = stat.rpartition(b")")[2].split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19])


def family():
    """This process and those above it: never to be ended by it."""
    pids, pid = set(), os.getpid()
    while pid > 1 and pid not in pids:
        pids.add(pid)
        fields = read_bytes("/proc/%d/stat" % pid).rpartition(b")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return pids


def processes_of(run_id, spare):
    """Living processes whose environment names this run, as {pid: start time}."""
    wanted = ("LLMCTL_RUN_ID=" + run_id).encode()
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in spare:
            continue
        if wanted in read_bytes("/proc/%s/environ" % name).split(b"\0"):
            born = start_time(int(name))
            if born is not None:
                found[int(name)] = born
    return found


def send(pids, signum):
    for pid, born in pids.items():
        try:
            if start_time(pid) == born:
                os.kill(pid, signum)
        except (OSError, ProcessLookupError):
            continue


def end_processes(run_id, spare, grace):
    """SIGTERM, then SIGKILL to what is left after `grace` seconds. Gives how many were found and how many are left."""
    found = processes_of(run_id, spare)
    send(found, signal.SIGTERM)
    deadline = time.time() + grace
    left = found
    while left and time.time() < deadline:
        time.sleep(0.1)
        left = processes_of(run_id, spare)
    for _ in range(50):
        if not left:
            break
        send(left, signal.SIGKILL)
        time.sleep(0.1)
        left = processes_of(run_id, spare)
    return {"ended": len(found), "left": sorted(left)}


def start(run_dir, node, rank, shell, run_id):
    """Detach from the caller; the grandchild supervises in a session of its own. Only what it starts has the run's id
    in its environment: what has it is ended with the run."""
    known = read_json(state_path(run_dir, node))
    if known and alive(known):
        return {"error": "it runs already", "pid": known["supervisor"]["pid"]}
    log_dir = prepare(run_dir, node)
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(read_end)
            supervise(run_dir, node, rank, shell, run_id, log_dir, write_end)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        return json.loads(answer.read() or '{"error": "the supervisor did not start"}')


def prepare(run_dir, node):
    """Forget how an earlier start of this run ended, whose logs stay: what they hold is no news. Gives their folder."""
    log_dir = os.path.join(run_dir, "logs", node)
    os.makedirs(log_dir, exist_ok=True)
    stale = [os.path.join(log_dir, name) for name in os.listdir(log_dir) if name.endswith(".error.json")]
    for old in [cancel_path(run_dir, node)] + stale:
        if os.path.exists(old):
            os.remove(old)
    write_json(began_path(run_dir, node), {name: size_of(path) for name, path in followed(run_dir, node).items()})
    return log_dir


def supervise(run_dir, node, rank, shell, run_id, log_dir, write_end):
    code, told = 70, False
    try:
        null = os.open(os.devnull, os.O_RDWR)
        log = os.open(os.path.join(log_dir, "launcher.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)
        state = {
            "run_id": run_id,
            "node": node,
            "rank": rank,
            "state": "RUNNING",
            "supervisor": {"pid": os.getpid(), "born": start_time(os.getpid())},
            "boot_id": boot_id(),
            "started": time.time(),
            "heartbeat": time.time(),
            "exit_code": None,
            "ended": None,
        }
        environment = dict(os.environ, LLMCTL_RUN_ID=run_id, LLMCTL_NODE=node, LLMCTL_LOG_DIR=log_dir)
        child = subprocess.Popen(
            [shell, os.path.join(run_dir, "launch.sh"), str(rank)],
            env=environment,
            cwd=run_dir,
            preexec_fn=fresh_session,
        )
        state["child"] = {"pid": child.pid, "born": start_time(child.pid)}
        write_json(state_path(run_dir, node), state)
        os.write(write_end, json.dumps({"pid": os.getpid()}).encode())
        told = True
        os.close(write_end)
        watch(run_dir, node, state, child)
        code = 0
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        if not told:
            os.write(write_end, json.dumps({"error": str(error)}).encode())
    finally:
        os._exit(code)


def fresh_session():
    os.setsid()
    for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)


def watch(run_dir, node, state, child):
    while True:
        try:
            child.wait(timeout=HEARTBEAT)
            break
        except subprocess.TimeoutExpired:
            state["heartbeat"] = time.time()
            try:
                write_json(state_path(run_dir, node), state)
            except OSError:  # a full disk is no reason to leave the child alone
                traceback.print_exc()
    code = 128 - child.returncode if child.returncode < 0 else child.returncode
    end_processes(state["run_id"], {os.getpid()}, 5.0)
    cancelled = os.path.exists(cancel_path(run_dir, node))
    state["exit_code"] = code
    state["state"] = "CANCELLED" if cancelled else "SUCCEEDED" if code == 0 else "FAILED"
    state["ended"] = state["heartbeat"] = time.time()
    write_json(state_path(run_dir, node), state)


def alive(state):
    supervisor = state["supervisor"]
    return (
        state["state"] == "RUNNING"
        and state["boot_id"] == boot_id()
        and start_time(supervisor["pid"]) == supervisor["born"]
    )


def poll(run_dir, node, offsets, tail):
    """The node's state, and what its files hold behind the given offsets, whole lines only, bounded."""
    state = read_json(state_path(run_dir, node))
    if state and state["state"] == "RUNNING" and not alive(state):
        state["state"] = "LOST"
    files, errors = {}, []
    began = read_json(began_path(run_dir, node)) or {}
    for name, path in followed(run_dir, node).items():
        size = size_of(path)
        offset = offsets.get(name, max(began.get(name, 0), 0 if tail is None else size - tail))
        if size == offset:
            continue
        if size < offset:
            offset = 0
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(POLL_BYTES)
        whole = data.rfind(b"\n") + 1
        over = state is None or state["state"] != "RUNNING"
        if (whole == 0 and len(data) == POLL_BYTES) or (over and len(data) < POLL_BYTES):
            whole = len(data)
        if whole:
            files[name] = {"offset": offset + whole, "text": data[:whole].decode("utf-8", "replace")}
    log_dir = os.path.join(run_dir, "logs", node)
    for name in sorted(os.listdir(log_dir)) if os.path.isdir(log_dir) else []:
        error = read_json(os.path.join(log_dir, name)) if name.endswith(".error.json") else None
        if error:
            errors.append(error)
    return {"state": state, "files": files, "errors": errors, "time": time.time()}


def cancel(run_dir, node, grace, run_id):
    """End every process of the run on this node. The supervisor stays to write down what became of its child."""
    state = read_json(state_path(run_dir, node))
    spare = family()
    if state and alive(state):
        open(cancel_path(run_dir, node), "w").close()
        spare.add(state["supervisor"]["pid"])
    result = end_processes(run_id, spare, grace)
    deadline = time.time() + 8
    while state and time.time() < deadline and alive(read_json(state_path(run_dir, node)) or state):
        time.sleep(0.1)
    return result


def digest(folder):
    """sha256 over `path NUL size NUL sha256 NEWLINE` of every file, sorted by path; None when there is no folder."""
    if not os.path.isdir(folder):
        return None
    names = []
    for root, _, files in os.walk(folder):
        names += [os.path.relpath(os.path.join(root, name), folder) for name in files]
    whole = hashlib.sha256()
    for name in sorted(name for name in names if "__pycache__" not in name.split(os.sep)):
        content, size = hashlib.sha256(), 0
        with open(os.path.join(folder, name), "rb") as file:
            while True:
                piece = file.read(1 << 20)
                if not piece:
                    break
                content.update(piece)
                size += len(piece)
        whole.update(("%s\0%d\0%s\n" % (name, size, content.hexdigest())).encode())
    return whole.hexdigest()


def main(argv):
    verb, words = argv[0], argv[1:]
    if verb == "start":
        answer = start(words[0], words[1], int(words[2]), words[3], words[4])
    elif verb == "prepare":
        answer = {"logs": prepare(words[0], words[1])}
    elif verb == "poll":
        request = json.loads(sys.stdin.read())
        answer = poll(words[0], words[1], request["offsets"], request["tail"])
    elif verb == "cancel":
        answer = cancel(words[0], words[1], float(words[2]), words[3])
    elif verb == "digest":
        answer = {"digests": [digest(folder) for folder in words]}
    else:
        raise SystemExit("unknown verb: " + verb)
    print("\n" + MARKER + json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
