"""Read one node: run the commands of a request, tell what they say. Standard library, Python 3.6, one file.

It comes over standard input with a last line `main("<base64 of a JSON request>")`. The request:
    activation  shell text whose environment the commands with "env": true get; null for none
    shell       what runs it, sh or bash
    commands    {name: {"run": shell text, "env": bool, "timeout": seconds}}
    timeout     seconds for the activation, and for a command that says nothing else
    budget      seconds for all of them; what has not begun by then is told as such
    ports       ports of which the first free one is told
    listen      {"port", "peers", "seconds", "hold"}: accept this many connections, and keep the ports of `hold` open
                until those who came are gone
    connect     [{"peer", "name", "port", "seconds", "try"}]: try to reach listeners, then their ports of `try`
    resolve     names to look up
Each command finds the interpreter that runs this in $LLMCTL_PYTHON. The answer is one JSON object between the two
lines of MARKS.
"""

import base64
import errno
import json
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import typing

MARKS = ("LLMCTL-PROBE-BEGIN", "LLMCTL-PROBE-END")
LARGEST = 8 << 20
NAME_SECONDS = 8.0
"""For all names together: a silent name server takes ten seconds and more for each."""
WORKERS = 8
TRY_SECONDS = 2.0
"""A packet that is lost is sent again after one."""
RUNNING: typing.List["subprocess.Popen[bytes]"] = []
"""The commands of now."""
ALONE = threading.Event()
"""Nobody waits for the answer any more."""


def run(text, shell, environment, timeout):
    """A command's code and output; killed with all its children after `timeout` seconds."""
    if environment is None:
        environment = dict(os.environ, LC_ALL="C")  # what tools print is read
    with scratch() as out, scratch() as err:
        try:
            child = subprocess.Popen(
                [shell, "-c", text],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(environment, LLMCTL_PYTHON=sys.executable),
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            return {"code": 127, "out": "", "err": str(error)}
        RUNNING.append(child)
        try:
            code = child.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            try:
                child.wait(1)
            except subprocess.TimeoutExpired:
                pass  # a process that waits for a dead file server does not even die
            return {"code": 124, "out": "", "err": "no answer within %g s" % timeout}
        finally:
            RUNNING.remove(child)
        if os.fstat(out.fileno()).st_size > LARGEST:
            return {"code": 1, "out": "", "err": "its output is larger than %d bytes" % LARGEST}
        out.seek(0)
        err.seek(0)
        return {
            "code": code,
            "out": out.read(LARGEST).decode("utf-8", "replace"),
            "err": err.read(4096).decode("utf-8", "replace"),
        }


def scratch():
    """A file for output; in memory where no other folder can be written, as on a full disk."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return tempfile.TemporaryFile(dir="/dev/shm")


def activated(text, shell, timeout):
    """The environment after the activation, or what went wrong."""
    given = dict(os.environ, LLMCTL_ACTIVATION=text)  # not an argument, which everybody on the node could read
    script = 'lines=$LLMCTL_ACTIVATION; unset LLMCTL_ACTIVATION; eval "$lines"'
    told = run(script + "\nprintf '\\n%s\\n' LLMCTL-ENV; env -0", shell, given, timeout)
    _, mark, listed = told["out"].rpartition("\nLLMCTL-ENV\n")
    if told["code"] != 0 or not mark:
        return None, told["err"].strip() or "exit code %d" % told["code"]
    return dict(entry.split("=", 1) for entry in listed.split("\0") if "=" in entry), None


def run_all(request):
    deadline = time.time() + request.get("budget", 3600)
    environment, error = None, None
    shell = request.get("shell") or "bash"
    if request.get("activation"):
        environment, error = activated(request["activation"], shell, request["timeout"])
    answers = {}

    def one(name, command):
        if command["env"] and error is not None:
            answers[name] = {"code": 78, "out": "", "err": "the activation failed: " + error}
            return
        left = deadline - time.time()
        if left <= 0:
            answers[name] = {"code": 124, "out": "", "err": "no time was left for it: other commands hang"}
            return
        env = environment if command["env"] else None
        answers[name] = run(
            command["run"], "sh" if env is None else shell, env, min(left, command.get("timeout", request["timeout"]))
        )

    waiting, lock = list(request["commands"].items()), threading.Lock()

    def work():
        while True:
            with lock:
                if not waiting or ALONE.is_set():
                    return
                item = waiting.pop(0)
            try:
                one(*item)
            except Exception as error:  # one command that cannot be run must not cost the others
                answers[item[0]] = {"code": 126, "out": "", "err": "%s: %s" % (type(error).__name__, error)}

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, error


def first_free(ports):
    for port in ports:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("", port))
            except OSError:
                continue
            return port
    return None


def listen(request):
    """Accept connections of the other nodes; how many came, and which ports of `hold` were open meanwhile."""
    deadline = time.time() + request["seconds"]
    held = hold(request.get("hold") or [])
    try:
        answer = accept(request, deadline)
    finally:
        for server in held.values():
            server.close()
    return dict(answer, held=sorted(held))


def hold(ports):
    """A listener on each port that nobody uses."""
    held = {}
    for port in ports:
        server = socket.socket()
        try:
            server.bind(("", port))
            server.listen(8)
            held[port] = server
        except OSError:
            server.close()
    return held


def accept(request, deadline):
    """Wait for the connections, and until each is closed by the other side."""
    came: typing.List[socket.socket] = []
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while True:
            try:
                server.bind(("", request["port"]))
                break
            except OSError as error:  # another check may hold it for a moment
                if time.time() > deadline - request["seconds"] / 2:
                    return {"came": 0, "error": str(error)}
                time.sleep(0.1)
        server.listen(128)
        while len(came) < request["peers"] and time.time() < deadline:
            server.settimeout(max(0.05, deadline - time.time()))
            try:
                came.append(server.accept()[0])
            except OSError:
                break
    for caller in came:
        caller.settimeout(max(0.05, deadline - time.time()))
        try:
            caller.recv(1)
        except OSError:
            pass  # it is gone, or has had its time
        caller.close()
    return {"came": len(came), "error": None}


def connect(request):
    """Reach a listener: the last error when that fails, else None; and what became of its other ports."""
    deadline, error = time.time() + request["seconds"], "no time"
    while time.time() < deadline:
        try:
            with socket.create_connection((request["name"], request["port"]), 2) as caller:
                return None, try_ports(caller.getpeername()[0], request.get("try") or [])
        except OSError as failure:
            error = str(failure)
            time.sleep(0.1)
    return error, {}


def try_ports(address, ports):
    """Connect to all ports at once: {port: error, None where it went well}. The connections are reset, so that none
    of these ports stays in use."""
    found: typing.Dict[int, typing.Optional[str]] = dict.fromkeys(ports, "timed out")
    waiting = selectors.DefaultSelector()
    callers = []
    for port in ports:
        caller = socket.socket()
        callers.append(caller)
        caller.setblocking(False)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        code = caller.connect_ex((address, port))
        if code in (0, errno.EINPROGRESS):
            waiting.register(caller, selectors.EVENT_WRITE, (port, caller))
        else:
            found[port] = os.strerror(code)
    deadline = time.time() + TRY_SECONDS
    while waiting.get_map() and time.time() < deadline:
        for key, _ in waiting.select(max(0.0, deadline - time.time())):
            waiting.unregister(key.fileobj)
            port, caller = key.data
            code = caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            found[port] = os.strerror(code) if code else None
    for caller in callers:
        caller.close()
    waiting.close()
    return found


def resolve(names):
    """Each name's IPv4 addresses, in order; none for a name that is not known, or not in time."""
    found: typing.Dict[str, typing.List[str]] = {name: [] for name in names}

    def look_up(name):
        try:
            told = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
            found[name] = [str(entry[4][0]) for entry in told]
        except (OSError, UnicodeError):
            pass

    threads = [threading.Thread(target=look_up, args=(name,), daemon=True) for name in names]
    deadline = time.time() + NAME_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.time()))
    return dict(found)


def talk(request):
    """Listen, connect and resolve, all at once."""
    answer: typing.Dict[str, typing.Any] = {"connect": {}, "tried": {}}

    def reach(peer):
        answer["connect"][peer["peer"]], answer["tried"][peer["peer"]] = connect(peer)

    def wait():
        answer["listen"] = listen(request["listen"])

    def ask():
        answer["resolve"] = resolve(request["resolve"])

    threads = [threading.Thread(target=reach, args=(peer,)) for peer in request.get("connect") or []]
    if request.get("listen"):
        threads.append(threading.Thread(target=wait))
    if request.get("resolve"):
        threads.append(threading.Thread(target=ask))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answer


def end_when_alone():
    """End all commands and this program once the reader of the answer is gone: a check that was broken off must not
    read hundreds of gigabytes to their end."""
    reader = select.poll()
    reader.register(1, 0)
    reader.poll()
    ALONE.set()
    for _ in range(2):  # one may just have been started
        for child in list(RUNNING):
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.2)
    os._exit(1)


def main(encoded):
    os.nice(5)  # a job that runs here, and logins, come first
    threading.Thread(target=end_when_alone, daemon=True).start()
    request = json.loads(base64.b64decode(encoded).decode("utf-8"))
    answer = {"begun": time.time()}
    thread = threading.Thread(target=lambda: answer.update(talk(request)))
    thread.start()
    answer["commands"], answer["activation_error"] = run_all(request)
    thread.join()
    answer["port"] = first_free(request.get("ports") or [])
    answer["ended"] = time.time()
    print("\n" + MARKS[0] + "\n" + json.dumps(answer) + "\n" + MARKS[1], flush=True)
