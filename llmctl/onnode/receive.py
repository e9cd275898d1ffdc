"""Take a file or folder in on a node. Standard library, Python 3.6, one file.

It comes as the text of `python3 -c`. The first line of standard input is a JSON request; "verb" says what is to do:
    mark      leave the node's name beside the target
    seen      which names are seen there (nodes of one file system see each other's); the marks go
    prepare   compare what stands at the target with the parcel; what is missing, and is there room for it
    keep      let nobody else write there, as long as something comes on standard input
    receive   take frames from the rest of standard input; a part that broke off is gone on with
    finish    check every file by sha256, then put the whole in its place
Each line of the answer is MARK and a JSON object: {"done": bytes}, {"answer": ...} or {"refused": {what, why, hint}}.
Names travel as text with escaped bytes and are bytes here, since an old Python in the C locale knows ASCII only.
"""

import errno
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import sys
import threading
import time
import typing
from concurrent.futures import ThreadPoolExecutor

MARK = "llmctl-push "
NAME = "llmctl-receive"
"""The program's argument, by which a process of ours is known."""
CHUNK = 1 << 20
EVERY = 0.5
"""Seconds between two words about progress."""
SILENT = 10.0
"""Seconds after which a writer that takes nothing in any more counts as cut off."""
IDLE = 60.0
"""Seconds without a byte after which a writer gives up."""
SAYING = threading.Lock()
SWAPPING = threading.RLock()
"""Held for the moment in which the old is away and the new not there yet."""


class Refused(Exception):
    """What cannot be done, for a person: what, why, hint."""

    def __init__(self, what, why="", hint=""):
        super().__init__(what)
        self.words = {"what": what, "why": why, "hint": hint}


def raw(text: str) -> bytes:
    """A name as the bytes that it is on the disk."""
    return text.encode("utf-8", "surrogateescape")


def shown(name: bytes) -> str:
    """A name as it travels."""
    return name.decode("utf-8", "surrogateescape")


def say(**words):
    try:
        with SAYING:
            sys.stdout.write("\n" + MARK + json.dumps(words) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:  # nobody listens any more: stop, the parts stay
        with SWAPPING:
            os._exit(1)


class Teller:
    """Counts bytes, tells them now and then, and keeps the lock fresh."""

    def __init__(self, lock=None):
        self.done = 0
        self.lock = lock
        self.guard = threading.Lock()
        self.told = time.time()

    def add(self, count):
        with self.guard:
            self.done += count
            if time.time() - self.told >= EVERY:
                self.told = time.time()
                say(done=self.done)
                if self.lock is not None:
                    os.utime(self.lock)


class Place:
    """The paths of one target; all lie in one folder, so that renaming is atomic."""

    def __init__(self, target):
        self.target = os.path.realpath(os.path.expanduser(raw(target)))
        self.parent, name = os.path.split(self.target)
        short = name if len(name) <= 200 else hashlib.sha256(name).hexdigest().encode()
        self.partial, self.old, self.kept, self.seen = (
            os.path.join(self.parent, b"." + short + b".llmctl-" + kind)
            for kind in (b"partial", b"old", b"digests", b"seen")
        )
        self.tree = os.path.join(self.partial, b"tree")
        self.parcel = os.path.join(self.partial, b"parcel.json")
        self.lock = os.path.join(self.partial, b"lock")

    def stands(self, parcel, name):
        """Where an entry of the parcel lies once it is in place."""
        return self.target if parcel["kind"] == "file" else os.path.join(self.target, raw(name))

    def part(self, name):
        """Where it lies before."""
        return os.path.join(self.tree, raw(name))


def make_folder(path):
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise Refused(
            "the folder cannot be made", "%s: %s" % (shown(path), error.strerror), "give another --to"
        ) from None


def hold(place):
    """Be the only one who writes at this target. A writer that was cut off is ended; one that gets on, as the time of
    its lock shows, is left alone."""
    handle = os.open(place.lock, os.O_RDWR | os.O_CREAT, 0o600)
    first = os.fstat(handle).st_mtime
    until = time.time() + SILENT + 2
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                break  # a file system without locks
        if time.time() > until or os.fstat(handle).st_mtime != first:
            raise Refused("another push is writing there", shown(place.target), "wait for its end, then try again")
        end_silent(handle)
        time.sleep(0.2)
    os.ftruncate(handle, 0)
    os.pwrite(handle, ("%d %s" % (os.getpid(), socket.gethostname())).encode(), 0)
    return handle


def end_silent(handle):
    words = os.pread(handle, 300, 0).decode("utf-8", "replace").split()
    if len(words) != 2 or words[1] != socket.gethostname() or time.time() - os.fstat(handle).st_mtime < SILENT:
        return
    try:
        with open("/proc/%d/cmdline" % int(words[0]), "rb") as file:
            ours = NAME.encode() in file.read().split(b"\0")
        if ours:
            os.kill(int(words[0]), signal.SIGKILL)
    except (OSError, ValueError):
        pass  # it ended by itself


def heartbeat(lock):
    """Tell that work goes on, and that the lock is held by somebody who lives."""
    while True:
        time.sleep(1.0)
        os.utime(lock)
        say(alive=True)


def alive(lock):
    """Work for long without a byte that could be told."""
    threading.Thread(target=heartbeat, args=(lock,), daemon=True).start()
    return lock


def load(path: bytes) -> typing.Dict[str, typing.Any]:
    try:
        with open(path, "rb") as file:
            value: typing.Dict[str, typing.Any] = json.loads(file.read().decode("ascii"))
            return value
    except (OSError, ValueError):
        return {}


def store(path, value):
    with open(path + b".new", "wb") as file:
        file.write(json.dumps(value).encode("ascii"))
    os.chmod(path + b".new", 0o600)
    os.replace(path + b".new", path)


def walk(root: bytes, below: bytes = b"") -> "typing.Iterator[typing.Tuple[bytes, os.DirEntry[bytes]]]":
    """Everything under a folder as (name, DirEntry); links are not followed."""
    for entry in sorted(os.scandir(os.path.join(root, below)), key=lambda entry: entry.name):
        name = os.path.join(below, entry.name)
        yield name, entry
        if entry.is_dir(follow_symlinks=False):
            for found in walk(root, name):
                yield found


def hash_file(path, teller):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            piece = file.read(CHUNK)
            if not piece:
                return digest.hexdigest()
            digest.update(piece)
            teller.add(len(piece))


def stamp(status):
    """What shows that a file has not been touched since its digest was taken."""
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def digests(
    paths: typing.Mapping[str, bytes], known: typing.Mapping[str, typing.Any], teller: typing.Any
) -> typing.Dict[str, typing.Any]:
    """Name -> [size, mtime, inode, sha256] of the files `paths` (name -> path); kept ones are not read again."""
    found: typing.Dict[str, typing.Any] = {}
    todo = []
    for name, path in paths.items():
        now = stamp(os.lstat(path))
        if known.get(name, [])[:3] == now:
            found[name] = known[name]
        else:
            todo.append((name, path, now))
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for (name, _, now), digest in zip(todo, pool.map(lambda each: hash_file(each[1], teller), todo)):  # noqa: B905 - strict= is newer
            found[name] = now + [digest]
    return found


def is_folder(path):
    return stat.S_ISDIR(os.lstat(path).st_mode)


def size_of(path):
    """Bytes of a regular file; None for anything else and for nothing."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def names_of(parcel):
    return {entry[0] for kind in ("files", "links") for entry in parcel[kind]} | set(parcel["dirs"])


def prepare(request):
    place = Place(request["target"])
    make_folder(place.tree)
    os.chmod(place.partial, 0o700)
    shutil.rmtree(place.seen, ignore_errors=True)
    teller = Teller(alive(hold(place)))
    try:
        return compare(place, request, teller)
    except Refused:
        if not any(entry.is_file() and entry.stat().st_nlink == 1 for _, entry in walk(place.tree)):
            shutil.rmtree(place.partial)  # nothing has come yet
        raise


def compare(place, request, teller):
    """The answer of `prepare`. Raises Refused when the target must stay as it is or there is no room."""
    if os.path.lexists(place.old) and not os.path.lexists(place.target):
        os.rename(place.old, place.target)  # a swap was broken off
    parcel, kept = request["parcel"], load(place.kept)
    known = {} if request["verify"] else kept.get("files", {})
    same, extras = standing(place, parcel, known, teller)
    strangers = sorted(extras - set(kept.get("names", [])))
    missing = names_of(parcel) - same.keys()
    names = sorted(set(kept.get("names", [])) | same.keys())
    files = {name: value for name, value in same.items() if value}
    if not missing and (not extras or (extras == set(strangers) and not request["replace"])):
        store(place.kept, {"names": names, "files": files})
        shutil.rmtree(place.partial)
        return dict(about(place), complete=True, extras=strangers[:5])
    if strangers and not request["replace"]:
        raise Refused(
            "the folder there holds what no push has put there, and would lose it",
            "%s: %s" % (shown(place.target), ", ".join(strangers[:5]) + (", ..." if len(strangers) > 5 else "")),
            "give another folder with --to, or --replace to drop these",
        )
    if same:
        store(place.kept, {"names": names, "files": files})
    need = parts(place, parcel, same)
    lacking = sum(parcel["files"][index][1] - have for index, have in need)
    room(place, lacking, len(need))
    return dict(about(place), complete=False, need=need)


def about(place):
    """What every answer of `prepare` tells. A node may log in to others when it has the pair that setup-nodes makes."""
    pair = os.path.exists(os.path.expanduser("~/.ssh/llmctl_ed25519"))
    return {
        "target": shown(place.target),
        "tree": shown(place.tree),
        "relay": pair and shutil.which("ssh") is not None,
        "rsync": shutil.which("rsync") is not None,
    }


def standing(place, parcel, known, teller):
    """Name -> kept digest (None for links and folders) of what stands as it should, and the names of all else."""
    if not os.path.lexists(place.target):
        return {}, set()
    if is_folder(place.target) != (parcel["kind"] == "folder"):
        kind = "file" if parcel["kind"] == "folder" else "folder"
        raise Refused("a %s stands there" % kind, shown(place.target), "give another place with --to")
    found = {shown(name): entry for name, entry in walk(place.target)} if parcel["kind"] == "folder" else {}
    paths = {}
    for name, size, _, _, _ in parcel["files"]:
        if size_of(place.stands(parcel, name)) == size:
            paths[name] = place.stands(parcel, name)
    have = digests(paths, known, teller)
    same = {entry[0]: have[entry[0]] for entry in parcel["files"] if have.get(entry[0], [""])[-1] == entry[4]}
    for name, goal in parcel["links"]:
        if name in found and found[name].is_symlink() and os.readlink(found[name].path) == raw(goal):
            same[name] = None
    for name in parcel["dirs"]:
        if name in found and found[name].is_dir(follow_symlinks=False):
            same[name] = None
    return same, set(found) - names_of(parcel)


def parts(place, parcel, same):
    """Bring the folder of parts to this parcel: drop what belongs to another one, take over what stands already.
    Gives [index, bytes that are there] of each file that must come."""
    before = {entry[0]: entry[4] for entry in load(place.parcel).get("files", [])}
    wanted = {entry[0]: entry[4] for entry in parcel["files"]}
    for name, entry in list(walk(place.tree)):
        path, text = os.path.join(place.tree, name), shown(name)
        if entry.is_dir(follow_symlinks=False):
            continue
        linked = entry.stat(follow_symlinks=False).st_nlink > 1 and text not in same
        if text not in wanted or before.get(text) != wanted[text] or linked:
            os.unlink(path)
    store(place.parcel, parcel)
    for name in parcel["dirs"]:
        make_folder(place.part(name))
    need = []
    for index, (name, size, _, _, _) in enumerate(parcel["files"]):
        if name in same and take_over(place.stands(parcel, name), place.part(name)):
            continue
        have = size_of(place.part(name)) or 0
        if have > size:
            os.unlink(place.part(name))
            have = 0
        need.append([index, have])
    return need


def take_over(stands, part):
    """Whether the part is the very file that stands in place."""
    if os.path.lexists(part):
        if os.path.samefile(stands, part):
            return True
        os.unlink(part)
    try:
        os.link(stands, part)
    except OSError:
        return False  # a file system without hard links: it comes once more
    return True


def room(place, size, count):
    disk = os.statvfs(place.parent)
    free = disk.f_bavail * disk.f_frsize
    if size > free:
        words = (size / 1e6, free / 1e6, shown(place.parent))
        raise Refused("there is no room for it", "%.1f MB are missing there, %.1f MB are free at %s" % words,
                      "make room, or give another disk with --to")  # fmt: skip
    if disk.f_files and count > disk.f_favail:
        raise Refused("there is no room for so many files", "%d are free at %s" % (disk.f_favail, shown(place.parent)))


class Inlet:
    """Standard input in lines and counted bytes; an end too early or a long silence is an error."""

    def __init__(self):
        self.held = b""

    def more(self, last=None):
        """What comes next; `last` at the end, which is an error when it is None."""
        if not select.select([0], [], [], IDLE)[0]:
            raise Refused("nothing came for %g s" % IDLE)
        piece = os.read(0, CHUNK) or last
        if piece is None:
            raise Refused("the sender went away")
        return piece

    def line(self):
        while b"\n" not in self.held:
            self.held += self.more()
        line, _, self.held = self.held.partition(b"\n")
        return line

    def take(self, count):
        while count:
            piece, self.held = (self.held or self.more()), b""
            piece, self.held = piece[:count], piece[count:]
            count -= len(piece)
            yield piece


def keep(request, inlet):
    place = Place(request["target"])
    lock = hold(place)
    say(kept=True)
    while inlet.more(last=b""):
        os.utime(lock)
    return {}


def receive(request, inlet):
    place = Place(request["target"])
    parcel = load(place.parcel)
    if parcel.get("digest") != request["digest"]:
        return {"stranger": True}
    teller = Teller(hold(place))
    while True:
        head = inlet.line()
        if head == b"end":
            return {"done": teller.done}
        index, offset, size = (int(word) for word in head.split())
        fill(place.part(parcel["files"][index][0]), offset, inlet.take(size), teller)


def fill(path, offset, pieces, teller):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        have = os.fstat(handle).st_size
        if have != offset:
            raise Refused("a part is not as long as it was", "%s has %d bytes, not %d" % (shown(path), have, offset))
        os.lseek(handle, offset, os.SEEK_SET)
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(handle, view) :]
            teller.add(len(piece))
        os.fsync(handle)
    except OSError as error:
        raise Refused("writing failed", "%s: %s" % (shown(path), error.strerror), "what has come stays there") from None
    finally:
        os.close(handle)


def finish(request):
    place = Place(request["target"])
    parcel = load(place.parcel)
    if parcel.get("digest") != request["digest"]:
        raise Refused("this is not the node that was prepared", "%s knows nothing of it" % socket.gethostname())
    held = alive(hold(place))
    paths = {entry[0]: place.part(entry[0]) for entry in parcel["files"] if size_of(place.part(entry[0])) == entry[1]}
    have = digests(paths, load(place.kept).get("files", {}), Teller(held))
    wrong = [i for i, entry in enumerate(parcel["files"]) if have.get(entry[0], [""])[-1] != entry[4]]
    if wrong:
        for index in wrong:
            if os.path.lexists(place.part(parcel["files"][index][0])):
                os.unlink(place.part(parcel["files"][index][0]))
        return {"wrong": wrong}
    try:
        complete_tree(place, parcel)
        swap(place, place.part(parcel["files"][0][0]) if parcel["kind"] == "file" else place.tree)
    except OSError as error:
        mounted = error.errno in (errno.EBUSY, errno.EXDEV)
        hint = "it is a mount: give a folder inside of it with --to" if mounted else "the verified copy stays beside it"
        why = "%s: %s" % (shown(place.target), error.strerror or error)
        raise Refused("it cannot be put in its place", why, hint) from None
    files = {name: stamp(os.lstat(place.stands(parcel, name))) + [have[name][-1]] for name in have}
    store(place.kept, {"names": sorted(names_of(parcel)), "files": files})
    shutil.rmtree(place.partial)
    return {"placed": True}


def complete_tree(place, parcel):
    """Links, modes and times; whatever does not belong goes."""
    wanted = {raw(name) for name in names_of(parcel)}
    for name, entry in reversed(list(walk(place.tree))):
        if name not in wanted:
            remove(entry.path)
    for name, goal in parcel["links"]:
        if os.path.lexists(place.part(name)):
            os.unlink(place.part(name))
        os.symlink(raw(goal), place.part(name))
    mask = os.umask(0)
    os.umask(mask)
    for name, _, executable, mtime, _ in parcel["files"]:
        os.chmod(place.part(name), (0o777 if executable else 0o666) & ~mask)
        os.utime(place.part(name), ns=(mtime, mtime))


def remove(path):
    if os.path.lexists(path):
        if is_folder(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def swap(place, made):
    """Put `made` in its place. A file is renamed over; a folder's old state goes aside first and comes back when the
    new one cannot take its place."""
    if not is_folder(made):
        os.replace(made, place.target)
        return
    remove(place.old)
    with SWAPPING:
        stood = os.path.lexists(place.target)
        if stood:
            os.rename(place.target, place.old)
        try:
            os.rename(made, place.target)
        except OSError:
            if stood:
                os.rename(place.old, place.target)
            raise
    remove(place.old)


def mark(request):
    place = Place(request["target"])
    make_folder(place.seen)
    with open(os.path.join(place.seen, raw(request["node"])), "wb"):
        return {}


def seen(request):
    place = Place(request["target"])
    return {"seen": sorted(shown(name) for name in os.listdir(place.seen)) if os.path.isdir(place.seen) else []}


def main():
    inlet = Inlet()
    code = 3
    try:
        request = json.loads(inlet.line().decode("ascii"))
        streaming = {"receive": receive, "keep": keep}
        plain = {"mark": mark, "seen": seen, "prepare": prepare, "finish": finish}
        verb = request["verb"]
        say(answer=streaming[verb](request, inlet) if verb in streaming else plain[verb](request))
        code = 0
    except Refused as refused:
        say(refused=refused.words)
    except OSError as error:
        say(refused={"what": "the file system refuses it", "why": str(error), "hint": ""})
    os._exit(code)  # a thread that may be writing must not be waited for


if __name__ == "__main__":
    main()
