"""Tell what is installed for the Python that runs this, from files alone. Standard library, Python 3.6, one file.

Arguments: `versions`, or `quick` or `deep` and the names of packages whose files are held against their RECORD: those
that changed after the installation with `quick`, all of them with `deep`. Prints one JSON object."""

import base64
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import typing


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (IOError, OSError):
        return ""


def git(folder, *words):
    try:
        done = subprocess.Popen(
            ["git", "-c", "safe.directory=*", "-C", folder] + list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, GIT_OPTIONAL_LOCKS="0"),  # a look at a checkout writes nothing into it
        )
        out = done.communicate()[0]
    except OSError:
        return None
    return out if done.returncode == 0 else None


def checkout(folder):
    """`COMMIT`, `COMMIT+HASH` where files were changed since; None for a folder that is not under git."""
    commit = git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    told = commit.decode().strip()
    changed = git(folder, "diff", "--no-ext-diff", "--no-color", "--full-index", "--binary", "HEAD", "--", ".") or b""
    new = git(folder, "ls-files", "-o", "--exclude-standard", "-z", "--", ".") or b""
    found = hashlib.sha256(changed)
    for name in sorted(part for part in new.split(b"\0") if part):
        found.update(name)
        try:
            found.update(digest(os.path.join(os.fsencode(folder), name)).encode())
        except OSError:
            pass  # a link that leads nowhere has its name alone
    return told + "+" + found.hexdigest()[:12] if changed or new else told


def origin(place):
    """Where a package is from when it is not from an index or a file: `@COMMIT`, `@editable FOLDER COMMIT`."""
    try:
        told = json.loads(read(os.path.join(place, "direct_url.json")))
    except ValueError:
        return ""
    url = told.get("url", "")
    if told.get("dir_info", {}).get("editable"):
        return editable(url[7:] if url.startswith("file://") else url)
    commit = told.get("vcs_info", {}).get("commit_id")
    return "@" + commit if commit else ""


def editable(folder):
    return "@editable %s %s" % (folder, checkout(folder) or "not under git")


def digest(path):
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode()


def edited(root, place, deep):
    """File -> first letters of its digest, `gone` for a file that is missing, of what is not as RECORD says."""
    record = os.path.join(place, "RECORD")
    try:
        written = os.stat(record).st_mtime
        with open(record, newline="", encoding="utf-8", errors="replace") as file:
            rows = [row for row in csv.reader(file) if len(row) == 3 and row[1].startswith("sha256=")]
            rows = [row for row in rows if not row[0].startswith("..")]  # scripts are made for each environment
    except (IOError, OSError):
        return {}
    found = {}
    for name, expected, size in rows:
        path = os.path.join(root, name)
        try:
            now = os.stat(path)
        except OSError:
            found[name] = "gone"
            continue
        suspect = deep or str(now.st_size) != size or now.st_mtime > written + 2
        if suspect:
            here = digest(path)
            if here != expected[7:]:
                found[name] = here[:12]
    return found


def torch_build(root):
    text = read(os.path.join(root, "torch", "version.py"))
    told = {}
    for key, name in (("__version__", "version"), ("cuda", "cuda"), ("hip", "hip"), ("git_version", "git")):
        match = re.search(r"^%s(?::[^=]*)? *= *'([^']*)'" % key, text, re.MULTILINE)
        told[name] = match.group(1) if match else None
    return told if told["version"] else {}


def named(root, entry):
    """Name and version of the package whose record this entry is; none for anything else."""
    place = os.path.join(root, entry)
    stem = re.match(r"(.+)-([^-]+?)\.dist-info$|(.+?)-([^-]+?)(?:-py[0-9.]+)?\.egg-info$", entry)
    if stem:
        return normal(stem.group(1) or stem.group(3)), (stem.group(2) or stem.group(4)) + origin(place)
    if entry.endswith(".egg-info"):
        version = re.search(r"^Version: *(\S+)", read(os.path.join(place, "PKG-INFO")), re.MULTILINE)
        if version:
            # Outside the packages' own folders it is an old editable install, whose folder is on the path itself.
            own = os.path.basename(root) in ("site-packages", "dist-packages")
            return normal(entry[:-9]), version.group(1) + ("" if own else editable(root))
    return None, None


def main(mode, names):
    found: typing.Dict[str, typing.Any] = {}
    twice: typing.Dict[str, typing.List[str]] = {}
    changed: typing.Dict[str, str] = {}
    torch: typing.Dict[str, typing.Any] = {}
    for root in sys.path:
        try:
            entries = sorted(os.listdir(root))
        except OSError:
            continue
        if "torch" in entries and not torch:
            torch = torch_build(root)
        for entry in entries:
            package, version = named(root, entry)
            if not package:
                continue
            if package in found:
                if found[package][1] == root and found[package][0] != version:
                    twice.setdefault(package, [found[package][0]]).append(version)
                continue
            found[package] = (version, root)
            if package in names and mode != "versions":
                changed.update(edited(root, os.path.join(root, entry), mode == "deep"))
    print(
        json.dumps(
            {
                "executable": os.path.abspath(sys.executable),
                "version": "%d.%d.%d" % sys.version_info[:3],
                "packages": {name: told[0] for name, told in found.items()},
                "twice": twice,
                "edited": changed,
                "torch": torch,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
