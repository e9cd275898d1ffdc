"""Read one node: run the commands of a request, tell what they say. Standard library, Python 3.6, one file.

It comes over standard input with a last line `main("<base64 of a JSON request>")`. The request:
    activation  shell text whose environment the commands with "env": true get; null for none
    commands    {name: {"run": shell text, "env": bool}}; each has its own time
    timeout     seconds for one command
    ports       ports of which the first free one is told
    listen      {"port", "peers", "seconds"}: accept this many connections
    connect     {"name", "port", "seconds"}: try to reach a listener
The answer is one JSON object between the two lines of MARKS.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

MARKS = ("LLMCTL-PROBE-BEGIN", "LLMCTL-PROBE-END")
LARGEST = 512 * 1024


def run(text, shell, environment, timeout):
    """A command's code and output; killed with all its children after `timeout` seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(
                [shell, "-c", text],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                preexec_fn=os.setsid,
                cwd="/",
            )
        except OSError as error:
            return {"code": 127, "out": "", "err": str(error)}
        try:
            code = child.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return {"code": 124, "out": "", "err": "no answer within %g s" % timeout}
        out.seek(0)
        err.seek(0)
        return {
            "code": code,
            "out": out.read(LARGEST).decode("utf-8", "replace"),
            "err": err.read(4096).decode("utf-8", "replace"),
        }


def activated(text, timeout):
    """The environment after the activation, or what went wrong."""
    told = run(text + "\nprintf '\\n%s\\n' LLMCTL-ENV; env -0", "bash", None, timeout)
    _, mark, listed = told["out"].rpartition("\nLLMCTL-ENV\n")
    if told["code"] != 0 or not mark:
        return None, told["err"].strip() or "exit code %d" % told["code"]
    return dict(entry.split("=", 1) for entry in listed.split("\0") if "=" in entry), None


def run_all(request):
    environment, error = None, None
    if request.get("activation"):
        environment, error = activated(request["activation"], request["timeout"])
    answers = {}

    def one(name, command):
        if command["env"] and error is not None:
            answers[name] = {"code": 78, "out": "", "err": "the activation failed: " + error}
            return
        env = environment if command["env"] else None
        shell = "bash" if env is not None else "sh"
        answers[name] = run(command["run"], shell, env, request["timeout"])

    threads = [threading.Thread(target=one, args=item) for item in request["commands"].items()]
    for start in range(0, len(threads), 8):
        for thread in threads[start : start + 8]:
            thread.start()
        for thread in threads[start : start + 8]:
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
    """Accept connections of the other nodes; how many came."""
    came = 0
    deadline = time.time() + request["seconds"]
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", request["port"]))
        except OSError as error:
            return {"came": 0, "error": str(error)}
        server.listen(128)
        while came < request["peers"] and time.time() < deadline:
            server.settimeout(max(0.05, deadline - time.time()))
            try:
                server.accept()[0].close()
                came += 1
            except OSError:
                break
    return {"came": came, "error": None}


def connect(request):
    """Reach the listener of the first node; the last error when that fails."""
    deadline, error = time.time() + request["seconds"], "no time"
    while time.time() < deadline:
        try:
            socket.create_connection((request["name"], request["port"]), 2).close()
            return {"error": None}
        except OSError as failure:
            error = str(failure)
            time.sleep(0.1)
    return {"error": error}


def main(encoded):
    request = json.loads(base64.b64decode(encoded).decode("utf-8"))
    answer = {"begun": time.time()}
    other = {}

    def network():
        if request.get("listen"):
            other["listen"] = listen(request["listen"])
        if request.get("connect"):
            other["connect"] = connect(request["connect"])

    thread = threading.Thread(target=network)
    thread.start()
    answer["commands"], answer["activation_error"] = run_all(request)
    thread.join()
    answer.update(other)
    answer["port"] = first_free(request.get("ports") or [])
    answer["ended"] = time.time()
    print("\n" + MARKS[0] + "\n" + json.dumps(answer) + "\n" + MARKS[1], flush=True)
