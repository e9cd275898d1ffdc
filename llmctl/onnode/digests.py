"""Tell what a folder or file holds: path -> digest. Standard library, Python 3.6, one file.

Arguments: `quick` or `deep`, then places; with several each name begins with its place. Files up to 16 MiB and data
(not weights) up to 2 GiB are read whole; larger ones with `quick` give their size, safetensors also the digest of their
header, which names every tensor. `deep` reads all. A digest is kept by path, size, mtime and inode, so that a second
look reads nothing. Prints one JSON object {files}; a git checkout has its commit as `(commit)`."""

import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import typing

SMALL = 16 << 20
LARGE = 2 << 30
MOST = 20000
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".npz")


def cache_file():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "llmctl", "digests-%s.json" % socket.gethostname())  # a home may be shared


def load(path):
    try:
        with open(path) as file:
            told = json.load(file)
        return told if isinstance(told, dict) else {}
    except (IOError, OSError, ValueError):
        return {}


def save(path, new):
    """Add digests to those that are kept; other looks may have added theirs meanwhile."""
    name = None
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        kept = dict(load(path), **new)
        handle, name = tempfile.mkstemp(dir=os.path.dirname(path))
        with os.fdopen(handle, "w") as file:
            json.dump(dict(list(kept.items())[-MOST:]), file)
        os.rename(name, path)
    except OSError:  # a cache that cannot be written only costs time
        if name is not None and os.path.exists(name):
            os.unlink(name)


def whole(path):
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def header(path, size):
    """A safetensors file begins with the length of its header in 8 bytes."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size, 100 << 20):
            return "no header"
        return hashlib.sha256(file.read(length)).hexdigest()[:16]


def told(path, deep, old, new):
    state = os.stat(path)
    mark = "%d %d %d" % (state.st_size, int(state.st_mtime * 1e6), state.st_ino)
    limit = SMALL if path.endswith(WEIGHTS) else LARGE
    if not deep and state.st_size > limit:
        more = " header " + header(path, state.st_size) if path.endswith(".safetensors") else ""
        return "size:%d%s" % (state.st_size, more)
    before = old.get(path)
    digest = before[1] if before and before[0] == mark else whole(path)
    new[path] = [mark, digest]
    return digest


def is_file(path):
    """Whether it can be read to an end; a link that leads nowhere is told later."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def shown(name):
    """The name as text on every node, whatever its locale; bytes that are none are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def tree(place):
    if os.path.isfile(place):
        yield place, os.path.basename(place)
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if name not in (".git", "__pycache__"))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.endswith(".pyc") and is_file(path):
                yield path, shown(os.path.relpath(path, place))


def commit(place):
    """The commit of a git checkout; None for anything else."""
    if not os.path.exists(os.path.join(place, ".git")):
        return None
    command = ["git", "-c", "safe.directory=*", "-C", place, "rev-parse", "HEAD"]
    try:
        asked = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return "git is not installed"
    return asked.communicate()[0].decode().strip() or "none"


def main(mode, places):
    for place in places:
        if not os.path.exists(place):
            sys.exit("no such file or folder: " + place)
    path = cache_file()
    old, files = load(path), {}
    new: typing.Dict[str, typing.List[str]] = {}
    for place in places:
        before = place.rstrip("/") + "/" if len(places) > 1 else ""
        told_commit = commit(place)
        if told_commit:
            files[before + "(commit)"] = told_commit
        for full, name in tree(os.path.realpath(place)):
            if len(files) >= MOST:
                files["..."] = "more than %d files: only these are compared" % MOST
                break
            try:
                files[before + name] = told(full, mode == "deep", old, new)
            except (IOError, OSError) as error:
                files[before + name] = "cannot be read: " + (error.strerror or str(error))
    if any(old.get(key) != value for key, value in new.items()):
        save(path, new)
    print(json.dumps({"files": files}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
