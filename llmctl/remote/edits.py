"""Edits of files that also belong to others: a managed block, and keys that may log in. Text in, text out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from llmctl.errors import UsageError

BEGIN = "# >>> llmctl managed >>>"
BEGIN_NO_NEWLINE = "# >>> llmctl managed, after a last line without its end >>>"
END = "# <<< llmctl managed <<<"


def split_block(text: str, where: str) -> tuple[str, list[str], str]:
    """What lies before our block, the block's lines without the markers, and what lies after it.

    Raises UsageError when the markers do not form exactly one block."""
    lines = text.splitlines(keepends=True)
    begins = [i for i, line in enumerate(lines) if line.rstrip("\r\n") in (BEGIN, BEGIN_NO_NEWLINE)]
    ends = [i for i, line in enumerate(lines) if line.rstrip("\r\n") == END]
    if not begins and not ends:
        return text, [], ""
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        found = ", ".join(f"line {i + 1}" for i in sorted(begins + ends))
        raise UsageError(
            "the managed block is damaged",
            where=where,
            why=f"its two marks must stand once each and in order; found: {found}",
            hint="repair or delete these lines by hand, then run the command again",
        )
    begin, end = begins[0], ends[0]
    before = "".join(lines[:begin])
    if lines[begin].rstrip("\r\n") == BEGIN_NO_NEWLINE:
        before = before.removesuffix("\n")
    return before, [line.rstrip("\r\n") for line in lines[begin + 1 : end]], "".join(lines[end + 1 :])


def with_block(text: str, body: Sequence[str], where: str, *, first: bool = False) -> str:
    """The text with our block holding exactly `body`: where it stood, else at the end (or the beginning)."""
    before, old, after = split_block(text, where)
    if not body:
        return before + after
    if first and not old:
        before, after = "", before + after
    glue = "\n" if before and not before.endswith("\n") else ""
    begin = BEGIN_NO_NEWLINE if glue else BEGIN
    return before + glue + "\n".join([begin, *body, END]) + "\n" + after


def diff(before: str, after: str, name: str) -> str:
    """A unified diff; empty when nothing changes."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = difflib.unified_diff(old, new, name, name + " (new)")
    text = "".join(line if line.endswith("\n") else line + "\n\\ no newline at the end\n" for line in lines)
    return text.encode("utf-8", "replace").decode()  # bytes that are no UTF-8 cannot be shown


def key_blob(line: str) -> str | None:
    """The base64 blob of a line of authorized_keys or of a public key file, whatever options stand before it."""
    if line.lstrip().startswith("#"):
        return None
    found = re.search(r"(?:^|\s)(?:ssh-|ecdsa-|sk-)\S+\s+(AAAA[0-9A-Za-z+/=]+)", line)
    return found.group(1) if found else None


def with_keys(text: str, keys: Sequence[str], where: str) -> tuple[str, list[str]]:
    """authorized_keys in which all `keys` (public key lines) may log in, and the blobs that had to be added."""
    present = {blob for line in text.splitlines() if (blob := key_blob(line))}
    added = [key.strip() for key in keys if key_blob(key) not in present]
    if not added:
        return text, []
    body = [*split_block(text, where)[1], *added]
    return with_block(text, body, where), [blob for key in added if (blob := key_blob(key))]


def without_keys(text: str, blobs: Sequence[str], where: str) -> str:
    """authorized_keys without the managed lines of these blobs; everybody else's lines stay."""
    body = [line for line in split_block(text, where)[1] if key_blob(line) not in blobs]
    return with_block(text, body, where)


def with_stanzas(text: str, lines: Sequence[str], where: str) -> str:
    """~/.ssh/config whose managed block, at the top, has these `Host` stanzas; those of other hosts in it stay."""
    fresh = _stanzas(lines)
    merged = {**_stanzas(split_block(text, where)[1]), **fresh}
    merged.pop("*", None)
    body = [line for stanza in merged.values() for line in stanza]
    return with_block(text, [*body, "Host *"] if body else [], where, first=True)


def _stanzas(lines: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if line.startswith("Host "):
            name = line.split()[1]
        found.setdefault(name, []).append(line)
    return found


def with_hosts(text: str, addresses: Mapping[str, str], where: str) -> str:
    """/etc/hosts whose managed block maps these names too; names managed before stay."""
    managed = (line.split("\t", 1) for line in split_block(text, where)[1] if "\t" in line)
    known = {name: address for address, name in managed}
    lines = [f"{address}\t{name}" for name, address in {**known, **addresses}.items()]
    return with_block(text, lines, where)


def other_mappings(text: str, addresses: Mapping[str, str], where: str) -> list[str]:
    """What is said about lines outside the block that map one of the names to another address (the first line wins,
    and on some systems all lines are used)."""
    before, block, after = split_block(text, where)
    told = []
    for number, line in enumerate(before.splitlines() + [""] * (len(block) + 2) + after.splitlines(), start=1):
        words = line.split("#")[0].split()
        for name in words[1:]:
            if name in addresses and words[0] != addresses[name]:
                harm = " (collectives would then listen on loopback)" if words[0].startswith("127.") else ""
                told.append(
                    f"{where}, line {number} maps {name} to {words[0]}, not to {addresses[name]}{harm}: delete it there"
                )
    return told
