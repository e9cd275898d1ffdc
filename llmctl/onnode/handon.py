"""Hand files on from one node to the next, by rsync or as frames over ssh. Standard library, Python 3.6, one file.

It comes as the text of `python3 -c`, a JSON request as the first line of standard input; the lines of the answer are
those of receive.py. The launcher uses the same functions when it sends by itself.
"""

import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
import typing

MARK = "llmctl-push "
CHUNK = 1 << 20
EVERY = 0.5
"""Seconds between two words about progress."""
SAYING = threading.Lock()


def raw(text: str) -> bytes:
    """A name as the bytes that it is on the disk."""
    return text.encode("utf-8", "surrogateescape")


def say(**words):
    try:
        with SAYING:
            sys.stdout.write("\n" + MARK + json.dumps(words) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:  # the launcher is gone
        os._exit(1)


def frames(files: typing.Iterable[typing.Tuple[int, typing.Any, int, int]]) -> typing.Iterator[bytes]:
    """The stream of `files`, each (index, path, offset, size): head lines and the bytes from the offset on.
    Raises OSError for one that cannot be read or is shorter than `size`."""
    for index, path, offset, size in files:
        yield b"%d %d %d\n" % (index, offset, size - offset)
        with open(path, "rb") as file:
            file.seek(offset)
            left = size - offset
            while left:
                piece = file.read(min(CHUNK, left))
                if not piece:
                    raise OSError(errno.EIO, "it became shorter while it was sent", os.fsdecode(path))
                left -= len(piece)
                yield piece
    yield b"end\n"


def rsync_command(
    source: bytes,
    names: typing.Optional[typing.Sequence[str]],
    shell: bytes,
    goal: bytes,
    basis: typing.Optional[bytes] = None,
) -> typing.List[bytes]:
    """The arguments of rsync for the files `names` below `source`; None: `source` is the one file. `basis` is a
    folder on the other side whose old files save bytes."""
    argv = [b"rsync", b"--ignore-times", b"--inplace", b"--protect-args", b"--info=progress2,stats1"]
    argv += [b"--no-inc-recursive", b"-e", shell]
    if basis is not None:
        argv += [b"--copy-dest=" + basis]
    if names is None:
        return argv + [b"--", source, goal]
    return argv + [b"--from0", b"--files-from=-", b"--", source + b"/", goal + b"/"]


def run_rsync(
    argv: typing.List[bytes], names: typing.Optional[typing.Sequence[str]], tell: typing.Callable[[int], typing.Any]
) -> typing.Tuple[int, str, int]:
    """Its exit code, its complaint, and the bytes that it sent; `tell` gets the bytes done from time to time."""
    environment = dict(os.environ, LC_ALL="C")
    pipe = subprocess.PIPE
    # A session of its own: Ctrl-C at a terminal is for the program that started it, which ends it.
    child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True)
    feed, out, err = streams(child)
    complaint = []
    reader = threading.Thread(target=lambda: complaint.append(err.read()), daemon=True)
    reader.start()
    sent, held = 0, b""
    try:
        try:
            feed.write(b"".join(raw(name) + b"\0" for name in names or ()))
            feed.close()
        except BrokenPipeError:
            pass  # it says why it ended
        while True:
            piece = os.read(out.fileno(), 65536)
            if not piece:
                break
            lines = re.split(b"[\r\n]", held + piece)
            held = lines.pop()
            for line in lines:
                words = re.match(rb"\s*([0-9,]+)\s+[0-9]+%", line)
                if words:
                    tell(int(words.group(1).replace(b",", b"")))
                words = re.match(rb"sent ([0-9,]+) bytes", line)
                if words:
                    sent = int(words.group(1).replace(b",", b""))
        code = child.wait()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        reader.join(5)
        for stream in (out, err):
            stream.close()
    return code, b"".join(complaint).decode("utf-8", "replace").strip(), sent


def streams(child):
    """The three pipes of a process."""
    return tuple(typing.cast("typing.IO[bytes]", pipe) for pipe in (child.stdin, child.stdout, child.stderr))


def by_rsync(request, files):
    single = request["single"]
    names = None if single else [name for _, name, _, _ in request["files"]]
    goal = raw(request["tree"])
    if single:
        goal = os.path.join(goal, raw(request["files"][0][1]))
    basis = None if single else raw(request["target"])
    source = files[0][1] if single else raw(request["source"])
    shell = " ".join(["ssh"] + request["options"]).encode()
    argv = rsync_command(source, names, shell, raw(request["peer"]) + b":" + goal, basis)
    code, why, _ = run_rsync(argv, names, lambda done: say(done=done))
    if code == 255:  # ssh's own
        return {"unreachable": why[-400:]}
    return {"rsync": code, "why": why[-400:]} if code else {}


def by_frames(request, files):
    """The other side's own answer; {"unreachable": why} when ssh fails, {"source": why} when a file cannot be read."""
    pipe = subprocess.PIPE
    argv = ["ssh"] + request["options"] + ["--", request["peer"], request["command"]]
    child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
    feed, out, err = streams(child)
    answer: typing.Dict[str, typing.Any] = {}
    complaint = []
    threads = [
        threading.Thread(target=listen, args=(out, answer), daemon=True),
        threading.Thread(target=lambda: complaint.append(err.read()), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        feed.write(json.dumps(request["ask"]).encode("ascii") + b"\n")
        for piece in frames(files):
            feed.write(piece)
        feed.close()
    except BrokenPipeError:
        pass  # the other side says why it ended
    except OSError as error:
        child.kill()
        child.wait()
        return {"source": "%s: %s" % (error.filename, error.strerror)}
    for thread in threads:
        thread.join()
    code = child.wait()
    if "answer" in answer or "refused" in answer:
        return {key: answer[key] for key in ("answer", "refused") if key in answer}
    why = b"".join(complaint).decode("utf-8", "replace").strip()[-400:]
    return {"unreachable": why or "ssh ended with %d" % code}


def listen(stream, answer):
    """Pass the other side's progress on and keep its answer."""
    for line in stream:
        text = line.decode("utf-8", "replace")
        if text.startswith(MARK):
            words = json.loads(text[len(MARK) :])
            if "done" in words:
                say(done=words["done"])
            answer.update(words)


def heartbeat():
    """Tell that work goes on; once nobody listens any more, this ends the program."""
    while True:
        time.sleep(EVERY)
        say(alive=True)


def main():
    request = json.loads(sys.stdin.buffer.readline().decode("ascii"))
    threading.Thread(target=heartbeat, daemon=True).start()
    source = raw(request["source"])
    files = [
        (index, source if request["single"] else os.path.join(source, raw(name)), offset, size)
        for index, name, offset, size in request["files"]
    ]
    say(answer=(by_rsync if request["rsync"] else by_frames)(request, files))
    os._exit(0)  # a thread that may be writing must not be waited for


if __name__ == "__main__":
    main()
