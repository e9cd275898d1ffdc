"""Start one node's part of a run, watch it, tell about it, end it. Standard library, Python 3.6, one file.

    supervisor.py start RUN_DIR NODE RANK SHELL RUN_ID      returns at once
    supervisor.py prepare RUN_DIR NODE             what `start` does first; for nodes that another's launcher reaches
    supervisor.py attend RUN_DIR NODE RANK SHELL RUN_ID     `start` in the foreground, to the end: for a step of Slurm
    supervisor.py noted RUN_DIR NODE               what `attend` ended when it was asked to
    supervisor.py save RUN_DIR NODE RUN_ID         ask the ranks to write a checkpoint and end
    supervisor.py poll RUN_DIR NODE                request on standard input: {"offsets": {file: bytes}, "tail": bytes,
                                                   "device": kind, "elsewhere": whether this is not the node itself};
                                                   files without an offset begin where the run was started last, and
                                                   at most `tail` bytes before their end
    supervisor.py cancel RUN_DIR NODE GRACE RUN_ID          a checkpoint that was cut short goes too
    supervisor.py digest FOLDER                    the digest of a staged tree

Each prints one JSON object behind MARKER. It never ends a process by name: only those whose environment holds this
run's id, which every process of the run inherits, what descends from them, and what was seen below the supervisor.

`start` leaves two processes: a guardian, whose one work is to end the ranks when the supervisor is killed, and below it
the supervisor. Orphans of the run become the supervisor's children, so that none gets out of sight.
"""

import json
import os
import select
import shutil
import signal
import sys
import time

MARKER = "LLMCTL-JSON "
HEARTBEAT = 2.0
STOP_SECONDS = 30.0
"""Patience with `stop.sh` beyond the grace that it is given."""
SCAN = 10.0
"""Seconds between two looks at the run's processes; more where there are so many that they cost 0.05 % of a core."""
POLL_BYTES = 256 * 1024
SEGMENT = 32 << 20
"""Bytes of a log after which a new file begins."""
SEGMENTS = 3
"""Full files of a log that are kept beside the one being written."""
PAUSE, BUSY = 0.25, 16384
"""Seconds between two looks at what the launcher prints, as long as each look brings less than so many bytes."""
GRACE = 5.0
DEVICE_SECONDS = 60.0
"""The vendor's tool is asked once in this time, and only when somebody looks."""
FOLLOWED = ("steps.jsonl",)
ASIDE = "output/.writing"
"""Where the engine writes a checkpoint before it counts."""
UNASKED = b"LLMCTL_STOP=KILL"
"""In the environment of what harms others when it is asked to end, and has nothing to save."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
OPEN_PROCESS = getattr(os, "pidfd_open", None)
"""From Python 3.9 on: a handle of a process, so that no other can take its pid between look and signal."""


def state_path(run_dir, node, what=".json"):
    return os.path.join(run_dir, "state", node + what)


def size_of(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def write_json(path, value, durable=True):
    """Write aside, sync, rename: a reader never sees half a file. Where the disk takes no new file, the old one is
    written over in one piece."""
    text = json.dumps(value).encode()
    aside = "%s.%d" % (path, os.getpid())
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(aside, "wb") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        remove(aside)
        place = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(place, text.ljust(os.fstat(place).st_size), 0)
        finally:
            os.close(place)


def read_json(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (IOError, OSError, ValueError):
        return None


def remove(path):
    try:
        os.remove(path)
    except OSError:
        pass


def read_bytes(path):
    try:
        place = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        pieces = [os.read(place, 65536)]
        while pieces[-1]:
            pieces.append(os.read(place, 65536))
        return b"".join(pieces)
    except OSError:
        return b""
    finally:
        os.close(place)


# Logs. A full file is renamed to `<name>.<begin>-<end>`: places in the whole log, which is what an offset means.


def pieces_of(folder, suffix=".log"):
    """The files of each log, the oldest first, as {name: [(begin, end, path)]}; the last one is being written."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    logs = {}  # type: dict[str, list[tuple[int, int, str]]]
    for name in names:
        stem, _, span = name.rpartition(".")
        begin, _, end = span.partition("-")
        if stem.endswith(suffix) and begin.isdigit() and end.isdigit():
            logs.setdefault(stem, []).append((int(begin), int(end), os.path.join(folder, name)))
    for name in names:
        if name.endswith(suffix):
            logs.setdefault(name, [])
    for name, pieces in logs.items():
        pieces.sort()
        path = os.path.join(folder, name)
        begin = pieces[-1][1] if pieces else 0
        pieces.append((begin, begin + size_of(path), path))
    return logs


def followed(run_dir, node):
    """The files that `poll` reads, as {name: pieces}."""
    logs = {"logs/%s/%s" % (node, name): p for name, p in pieces_of(os.path.join(run_dir, "logs", node)).items()}
    for name in FOLLOWED:
        path = os.path.join(run_dir, "output", name)
        logs["output/" + name] = [(0, size_of(path), path)]
    return logs


def read_pieces(pieces, offset, count):
    """At most `count` bytes of a log from `offset` on."""
    data = b""
    for begin, end, path in pieces:
        if begin <= offset + len(data) < end and len(data) < count:
            try:
                with open(path, "rb") as file:
                    file.seek(offset + len(data) - begin)
                    data += file.read(min(count - len(data), end - offset - len(data)))
            except IOError:  # it was rotated meanwhile; the next call finds it
                break
    return data


class Log(object):
    """What a launcher prints, in files of bounded size. It never fails: what the disk does not take is counted, and
    told as soon as it does."""

    def __init__(self, path):
        self.path, self.dropped, self.why = path, 0, ""
        self.place = -1
        self.begin = self.size = 0

    def write(self, data):
        note = b""
        if self.dropped:
            note = ("\n[llmctl: %d bytes could not be written: %s]\n" % (self.dropped, self.why)).encode()
        left = note + data
        try:
            if self.place < 0:
                self._open()
            while left:
                written = os.write(self.place, left)
                self.size += written
                left = left[written:]
            self.dropped = 0
            if self.size >= SEGMENT:
                self._rotate()
        except OSError as error:
            self.dropped += min(len(left), len(data))
            self.why = error.strerror or str(error)

    def _open(self):
        folder, name = os.path.split(self.path)
        self.place = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.begin, end, _ = pieces_of(folder)[name][-1]
        self.size = end - self.begin

    def _rotate(self):
        end = self.begin + self.size
        os.rename(self.path, "%s.%d-%d" % (self.path, self.begin, end))
        os.close(self.place)
        self.place = -1
        for _, _, old in pieces_of(os.path.dirname(self.path))[os.path.basename(self.path)][: -SEGMENTS - 1]:
            remove(old)


# Processes. A pid with the kernel's start time names one process of this boot for good.


def boot_id():
    return read_bytes("/proc/sys/kernel/random/boot_id").decode("ascii", "replace").strip()


def stat_of(pid):
    """(parent, session, start time, resident bytes) of a living process; None when it is gone."""
    fields = read_bytes("/proc/%d/stat" % pid).rpartition(b")")[2].split()
    if len(fields) < 22 or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[1]), int(fields[3]), int(fields[19]), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


def start_time(pid):
    found = stat_of(pid)
    return found[2] if found else None


def table():
    """Every living process as {pid: stat_of}."""
    found = {int(name): stat_of(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    return {pid: each for pid, each in found.items() if each}


def family():
    """This process and those above it: never to be ended by it."""
    pids, pid = set(), os.getpid()
    while pid > 1 and pid not in pids:
        pids.add(pid)
        found = stat_of(pid)
        pid = found[0] if found else 0
    return pids


def below(found, roots, processes):
    """`found` with all that descends from it or from `roots`, and the sessions that processes in it lead."""
    children, sessions = {}, {}  # type: (dict[int, list[int]], dict[int, list[int]])
    for pid, (parent, session, _, _) in processes.items():
        children.setdefault(parent, []).append(pid)
        sessions.setdefault(session, []).append(pid)
    found, todo = set(found), list(set(found) | set(roots))
    while todo:
        pid = todo.pop()
        near = children.get(pid, []) + (sessions.get(pid, []) if pid in found else [])
        new = set(near) - found - set(roots)
        found |= new
        todo += new
    return found


def members(run_dir, node, run_id, roots, spare):
    """The living processes of a run on this node, as {pid: start time}: those whose environment names it, those that
    were seen below its supervisor, and what descends from either or from `roots`. A launcher comes before its ranks, so
    that it does not take what `cancel` does to them for their failure."""
    processes = table()
    wanted = ("LLMCTL_RUN_ID=" + run_id).encode()
    known = seen(run_dir, node)
    found = {
        pid
        for pid, each in processes.items()
        if pid not in spare
        and (known.get(str(pid)) == each[2] or wanted in read_bytes("/proc/%d/environ" % pid).split(b"\0"))
    }
    eldest_first = sorted((processes[pid][2], pid) for pid in below(found, roots, processes) - set(spare))
    return {pid: born for born, pid in eldest_first}


def seen(run_dir, node):
    """What was below the run's supervisor when it looked last, as {pid as text: start time}."""
    noted = read_json(state_path(run_dir, node, ".seen.json")) or {}
    return noted["processes"] if noted.get("boot_id") == boot_id() else {}


def send(pids, signum):
    """A signal to each process of {pid: start time} that is still the same one; SIGKILL instead of SIGTERM to those
    that must not be asked."""
    for pid, born in pids.items():
        try:
            handle = OPEN_PROCESS(pid) if OPEN_PROCESS else None
        except OSError:
            handle = None
        unasked = signum == signal.SIGTERM and UNASKED in read_bytes("/proc/%d/environ" % pid).split(b"\0")
        each = signal.SIGKILL if unasked else signum
        try:
            if start_time(pid) == born:
                if handle is None:
                    os.kill(pid, each)
                else:
                    signal.pidfd_send_signal(handle, each)
        except OSError:
            continue
        finally:
            if handle is not None:
                os.close(handle)


def living(pids):
    return {pid: born for pid, born in pids.items() if start_time(pid) == born}


def end_processes(find, grace, meanwhile=lambda: None):
    """SIGTERM to what `find` gives, then SIGKILL to what is left after `grace` seconds. Gives how many were found and
    which are left."""
    left = find()
    told = dict(left)
    send(left, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        meanwhile()
        left = living(left)
        if not left:
            left = find()
            fresh = {pid: born for pid, born in left.items() if told.get(pid) != born}
            send(fresh, signal.SIGTERM)
            told.update(fresh)
    for _ in range(50):
        if not left:
            break
        send(left, signal.SIGKILL)
        time.sleep(0.1)
        meanwhile()
        left = find()
        told.update(left)
    return {"ended": len(told), "left": sorted(left)}


# Starting and watching.


def prctl(option, value):
    """Ask the kernel for something of this process; where Python has no ctypes, go without."""
    try:
        import ctypes
    except ImportError:
        return
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def stop_container(run_dir, node, grace):
    """Let `stop.sh` end the run's container on this node, if there is one: its processes are children of the runtime,
    and their environment need not be readable. Gives what went wrong, or None."""
    script = os.path.join(run_dir, "stop.sh")
    if not os.path.exists(script):
        return None
    import subprocess

    argv = ["sh", script, node, str(int(grace))]
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        told = child.communicate(timeout=grace + STOP_SECONDS)[0].decode("utf-8", "replace").strip()
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return "no answer of the container runtime within %d s" % (grace + STOP_SECONDS)
    return (told or "exit code %d" % child.returncode) if child.returncode else None


def start(run_dir, node, rank, shell, run_id):
    """Detach from the caller; the grandchild guards in a session of its own. Only what is started for the run has its
    id in its environment: what has it is ended with the run."""
    known = read_json(state_path(run_dir, node))
    if known and alive(known):
        return {"error": "it runs already", "pid": known["supervisor"]["pid"]}
    log_dir = prepare(run_dir, node)
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(read_end)
            guard(run_dir, node, rank, shell, run_id, log_dir, write_end)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        return json.loads(answer.read() or '{"error": "the supervisor did not start"}')


def attend(run_dir, node, rank, shell, run_id):
    """Guard from below this process, for somebody who watches it and asks it to end by SIGTERM; gives the exit code."""
    log_dir = prepare(run_dir, node)
    waited = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before - waited)
        os.close(read_end)
        os.setsid()
        guard(run_dir, node, rank, shell, run_id, log_dir, write_end)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        told = json.loads(answer.read() or '{"error": "the supervisor did not start"}')
    if "error" in told:
        sys.stderr.write("llmctl: %s: %s\n" % (node, told["error"]))
    while True:
        if signal.sigwait(waited) != signal.SIGCHLD:
            ended = cancel(run_dir, node, 2 * GRACE, run_id)
            write_json(state_path(run_dir, node, ".ended.json"), dict(ended, time=time.time()))
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            break
    state = read_json(state_path(run_dir, node)) or {}
    if state.get("state") == "CANCELLED":
        return 128 + signal.SIGTERM
    return 70 if state.get("exit_code") is None else state["exit_code"]


def save(run_dir, node, run_id):
    """SIGTERM to the run's ranks alone, which they take for a request; gives how many were asked. What started them
    would give them less time."""
    found = members(run_dir, node, run_id, set(), family())
    ranks = {
        pid: born for pid, born in found.items() if b"\0LOCAL_RANK=" in b"\0" + read_bytes("/proc/%d/environ" % pid)
    }
    send(ranks, signal.SIGTERM)
    return len(ranks)


def prepare(run_dir, node):
    """Forget how an earlier start of this run ended, whose logs stay: what they hold is no news. Gives their folder."""
    await_guardian(run_dir, node)
    log_dir = os.path.join(run_dir, "logs", node)
    os.makedirs(log_dir, exist_ok=True)
    for name in os.listdir(log_dir):
        if name.endswith(".error.json"):
            os.remove(os.path.join(log_dir, name))
    remove(state_path(run_dir, node, ".seen.json"))
    remove(state_path(run_dir, node, ".beat.json"))
    remove(state_path(run_dir, node, ".ended.json"))
    ends = {name: pieces[-1][1] for name, pieces in followed(run_dir, node).items()}
    write_json(state_path(run_dir, node, ".began.json"), ends)
    return log_dir


def await_guardian(run_dir, node):
    """Let the guardian of an earlier start finish: it must not take the new processes for what it has to end."""
    known = read_json(state_path(run_dir, node)) or {}
    guardian = known.get("guardian") if known.get("boot_id") == boot_id() else None
    deadline = time.monotonic() + 4 * GRACE
    while guardian and start_time(guardian["pid"]) == guardian["born"]:
        if time.monotonic() > deadline:
            send({guardian["pid"]: guardian["born"]}, signal.SIGKILL)
            return
        time.sleep(0.05)


def guard(run_dir, node, rank, shell, run_id, log_dir, answer):
    """Fork the supervisor and wait for it. When it dies before it has told the run's end, end what it left alone."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for place in (0, 1, 2):
            os.dup2(null, place)
        for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(signum, signal.SIG_IGN)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        out, into = os.pipe()
        os.set_blocking(out, False)
        pid = os.fork()
        if pid == 0:
            supervise(run_dir, node, rank, shell, run_id, log_dir, answer, out, into)
        os.close(answer)
        os.close(into)
        os.waitpid(pid, 0)
        state = read_json(state_path(run_dir, node))
        if state and state["state"] == "RUNNING" and state["supervisor"]["pid"] == pid:
            log = Log(os.path.join(log_dir, "launcher.log"))
            me = {os.getpid()}
            stop_container(run_dir, node, 2 * GRACE)
            end_processes(
                lambda: members(run_dir, node, run_id, me, me), 2 * GRACE, lambda: (drain(out, log), reap(None))
            )
            log.write(b"[llmctl: the supervisor was killed; what it left alone was ended]\n")
            end_state(run_dir, node, state, "LOST", None)
    finally:
        os._exit(0)


def supervise(run_dir, node, rank, shell, run_id, log_dir, answer, out, into):
    import subprocess

    code, told, log = 70, False, Log(os.path.join(log_dir, "launcher.log"))
    try:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        events = Events()
        me = os.getpid()
        state = {
            "run_id": run_id,
            "node": node,
            "rank": rank,
            "state": "RUNNING",
            "supervisor": {"pid": me, "born": start_time(me)},
            "guardian": {"pid": os.getppid(), "born": start_time(os.getppid())},
            "boot_id": boot_id(),
            "started": time.time(),
            "heartbeat": time.time(),
            "exit_code": None,
            "ended": None,
        }
        script = os.path.join(run_dir, "launch.sh")
        last_word = signal.SIGKILL if UNASKED in read_bytes(script) else signal.SIGTERM
        environment = dict(os.environ, LLMCTL_RUN_ID=run_id, LLMCTL_NODE=node, LLMCTL_LOG_DIR=log_dir)
        child = subprocess.Popen(
            [shell, script, str(rank)],
            env=environment,
            cwd=run_dir,
            stdin=subprocess.DEVNULL,
            stdout=into,
            stderr=into,
            preexec_fn=lambda: fresh_session(last_word),
        )
        os.close(into)
        state["child"] = {"pid": child.pid, "born": start_time(child.pid)}
        write_json(state_path(run_dir, node), state)
        os.write(answer, json.dumps({"pid": me}).encode())
        told = True
        os.close(answer)
        watch(run_dir, node, state, child.pid, events, out, log)
        code = 0
    except Exception as error:
        import traceback

        log.write(traceback.format_exc().encode())
        if not told:
            os.write(answer, json.dumps({"error": str(error)}).encode())
    finally:
        os._exit(code)


def fresh_session(last_word):
    """The launcher leads a session of its own, and gets the last word should supervisor and guardian be killed at
    once."""
    os.setsid()
    for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    prctl(PR_SET_PDEATHSIG, last_word)


class Events(object):
    """Signals as something to wait for: a child that ended, and SIGUSR1, by which `cancel` says what it does."""

    def __init__(self):
        self.cancelled = False
        self.place, wake = os.pipe()
        os.set_blocking(self.place, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGUSR1, self._cancel)

    def _cancel(self, *_):
        self.cancelled = True


def reap(child):
    """Collect what has ended, the run's orphans too; the exit code of `child` when it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def drain(place, log=None):
    """Read what is there, at most 1 MiB, into the log. How many bytes it was; None at its end."""
    count = 0
    try:
        while count < 1 << 20:
            data = os.read(place, 65536)
            if not data:
                return None
            count += len(data)
            if log:
                log.write(data)
    except BlockingIOError:
        pass
    return count


def watch(run_dir, node, state, child, events, out, log):
    """Until the launcher ends; then end what it left behind, and write down what came out."""
    code, beat_at, scan_at, read_at, ended = None, 0.0, 0.0, 0.0, False
    told = {"memory_mb": None, "processes": 1}  # type: dict[str, object]
    while code is None:
        pausing = time.monotonic() < read_at
        places = [events.place] if ended or pausing else [events.place, out]
        wake_at = min(beat_at, read_at) if pausing else beat_at
        ready, _, _ = select.select(places, [], [], max(0.0, wake_at - time.monotonic()))
        if out in ready:
            count = drain(out, log)
            ended = count is None
            read_at = time.monotonic() + PAUSE if count and count < BUSY else 0.0
        drain(events.place)
        code = reap(child)
        now = time.monotonic()
        if now >= scan_at:
            before = time.process_time()
            told.update(scan(run_dir, node))
            scan_at = now + max(SCAN if scan_at else HEARTBEAT, 2000 * (time.process_time() - before))
        if now >= beat_at:
            beat_at = now + HEARTBEAT
            told.update(heartbeat=time.time(), dropped=log.dropped, why=log.why if log.dropped else "")
            try:
                write_json(state_path(run_dir, node, ".beat.json"), told, durable=False)
            except OSError:  # a full disk is no reason to leave the child alone; `poll` tells of it
                pass
    me = {os.getpid()}
    grace = 30.0 if events.cancelled else GRACE
    trouble = stop_container(run_dir, node, grace)
    if trouble:
        log.write(("[llmctl: the container cannot be ended: %s]\n" % trouble).encode())
    end_processes(lambda: members(run_dir, node, state["run_id"], me, me), grace, lambda: (drain(out, log), reap(None)))
    drain(out, log)
    end_state(run_dir, node, state, "CANCELLED" if events.cancelled else "FAILED" if code else "SUCCEEDED", code)


def scan(run_dir, node):
    """Note what is below this process, so that it is found should it lose its environment and its parents."""
    processes = table()
    found = below((), {os.getpid()}, processes)
    noted = {str(pid): processes[pid][2] for pid in found}
    if noted != seen(run_dir, node):
        try:
            write_json(
                state_path(run_dir, node, ".seen.json"), {"boot_id": boot_id(), "processes": noted}, durable=False
            )
        except OSError:
            pass
    return {"memory_mb": sum(processes[pid][3] for pid in found) >> 20, "processes": len(found)}


def end_state(run_dir, node, state, name, code):
    """Write down the end, again and again while the disk takes nothing."""
    state.update(state=name, exit_code=code, ended=time.time(), heartbeat=time.time())
    for _ in range(60):
        try:
            write_json(state_path(run_dir, node), state)
            return
        except OSError:
            time.sleep(0.5)


# Asking.


def alive(state):
    supervisor = state["supervisor"]
    return (
        state["state"] == "RUNNING"
        and state["boot_id"] == boot_id()
        and start_time(supervisor["pid"]) == supervisor["born"]
    )


def poll(run_dir, node, offsets, tail, device=None, elsewhere=False):
    """The node's state, and what its files hold behind the given offsets, whole lines only, bounded. `elsewhere`: this
    is another machine, which cannot see whether the supervisor lives."""
    state = read_json(state_path(run_dir, node))
    gone = bool(state) and state["state"] == "RUNNING" and not elsewhere and not alive(state)
    if gone:
        state = read_json(state_path(run_dir, node)) or state  # it may have ended between the two looks
    if state and state["state"] == "RUNNING":
        if gone:
            state["state"] = "LOST"
        beat = read_json(state_path(run_dir, node, ".beat.json")) or {}
        state.update(beat)
        if device in TOOLS and not elsewhere:
            state["devices"] = devices(state_path(run_dir, node, ".devices.json"), device)
    files, errors = {}, []
    over = state is None or state["state"] != "RUNNING"
    began = read_json(state_path(run_dir, node, ".began.json")) or {}
    for name, pieces in followed(run_dir, node).items():
        first, end = pieces[0][0], pieces[-1][1]
        offset = offsets.get(name, max(began.get(name, 0), 0 if tail is None else end - tail))
        if end == offset:
            continue
        if end < offset:
            offset = first
        data = read_pieces(pieces, max(offset, first), POLL_BYTES)
        whole = data.rfind(b"\n") + 1
        if (whole == 0 and len(data) == POLL_BYTES) or (over and len(data) < POLL_BYTES):
            whole = len(data)
        if whole:
            text = data[:whole].decode("utf-8", "replace")
            if offset < first:
                text = "[llmctl: %d bytes were rotated away before they were read]\n%s" % (first - offset, text)
            files[name] = {"offset": max(offset, first) + whole, "text": text}
    log_dir = os.path.join(run_dir, "logs", node)
    for name in sorted(os.listdir(log_dir)) if os.path.isdir(log_dir) else []:
        error = read_json(os.path.join(log_dir, name)) if name.endswith(".error.json") else None
        if error:
            errors.append(error)
    return {"state": state, "files": files, "errors": errors, "time": time.time(), "free_mb": free_mb(run_dir)}


def free_mb(path):
    """MiB that this user can still write there, 0 only for a full disk; None where that cannot be told."""
    try:
        told = os.statvfs(path)
    except OSError:
        return None
    return told.f_bavail * told.f_frsize + (1 << 20) - 1 >> 20


TOOLS = {
    "cuda": "nvidia-smi --query-gpu=index,utilization.gpu,memory.used,memory.total --format=csv,noheader,nounits",
    "npu": "npu-smi info",
}
CUDA_ROW = r"(?m)^(?P<number>\d+), *(?P<use>\d+)?[^,]*, *(?P<used>\d+), *(?P<total>\d+)"
NPU_ROW = (
    r"(?m)^\s*\|[^|]*\|\s*[0-9A-Fa-f]+:[0-9A-Fa-f:.]+\s*\|\s*(?P<use>\d+).*?(?P<used>\d+)\s*/\s*(?P<total>\d+)\s*\|\s*$"
)


def devices(path, kind):
    """Use (percent) and memory (MiB) of each device, as the vendor's tool said within the last minute; [] where it
    says nothing."""
    known = read_json(path)
    if known and abs(time.time() - known["time"]) < DEVICE_SECONDS:
        return known["devices"]
    import re
    import subprocess

    path_variable = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/local/sbin:/usr/local/Ascend/driver/tools"
    try:
        told = subprocess.check_output(
            TOOLS[kind].split(), timeout=6, stderr=subprocess.DEVNULL, env=dict(os.environ, PATH=path_variable)
        ).decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        told = ""
    found = []
    for number, row in enumerate(re.finditer(CUDA_ROW if kind == "cuda" else NPU_ROW, told)):
        words = row.groupdict()
        found.append(
            {
                "number": int(words.get("number", number)),
                "use_percent": int(words["use"]) if words["use"] else None,
                "memory_mb": int(words["used"]),
                "total_mb": int(words["total"]),
            }
        )
    try:
        write_json(path, {"time": time.time(), "devices": found}, durable=False)
    except OSError:
        pass
    return found


def cancel(run_dir, node, grace, run_id):
    """End every process of the run on this node. The supervisor stays to write down what became of its child."""
    state = read_json(state_path(run_dir, node))
    spare, roots = family(), set()
    if state and alive(state):
        supervisor = state["supervisor"]
        send({supervisor["pid"]: supervisor["born"]}, signal.SIGUSR1)
        spare |= {supervisor["pid"], state["guardian"]["pid"]}
        roots = {supervisor["pid"]}
    trouble = stop_container(run_dir, node, grace)
    result = end_processes(lambda: members(run_dir, node, run_id, roots, spare), grace)
    result["container"] = trouble
    deadline = time.monotonic() + 8
    while state and time.monotonic() < deadline and alive(read_json(state_path(run_dir, node)) or state):
        time.sleep(0.05)
    if not result["left"]:
        shutil.rmtree(os.path.join(run_dir, ASIDE), ignore_errors=True)
    return result


def digest(folder):
    """sha256 over `path NUL size NUL sha256 NEWLINE` of every file, sorted by path; None when there is no folder."""
    if not os.path.isdir(folder):
        return None
    names = []
    for root, _, files in os.walk(folder):
        names += [os.path.relpath(os.path.join(root, name), folder) for name in files]
    import hashlib

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
    elif verb == "attend":
        sys.exit(attend(words[0], words[1], int(words[2]), words[3], words[4]))
    elif verb == "save":
        answer = {"asked": save(words[0], words[1], words[2])}
    elif verb == "noted":
        answer = {"ended": read_json(state_path(words[0], words[1], ".ended.json"))}
    elif verb == "prepare":
        answer = {"logs": prepare(words[0], words[1])}
    elif verb == "poll":
        request = json.loads(sys.stdin.read())
        answer = poll(
            words[0],
            words[1],
            request["offsets"],
            request["tail"],
            request.get("device"),
            request.get("elsewhere", False),
        )
    elif verb == "cancel":
        answer = cancel(words[0], words[1], float(words[2]), words[3])
    elif verb == "digest":
        answer = {"digests": [digest(folder) for folder in words]}
    else:
        raise SystemExit("unknown verb: " + verb)
    print("\n" + MARKER + json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
