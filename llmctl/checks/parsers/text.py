"""Plain text, lists and `key=value` files."""

from __future__ import annotations


def text(out: str) -> str:
    """The first line. Raises ValueError when there is none."""
    found = lines(out)
    if not found:
        raise ValueError("no output")
    return found[0]


def lines(out: str) -> list[str]:
    """All lines that are not blank."""
    return [line.strip() for line in out.splitlines() if line.strip()]


def number(out: str) -> int:
    """A whole number."""
    return int(text(out))


def key_values(out: str, separator: str = "=") -> dict[str, str]:
    """`key=value` lines; `#` starts a comment. Raises ValueError when a key has two values, or none is there."""
    found: dict[str, str] = {}
    for line in out.splitlines():
        key, sign, value = line.partition(separator)
        key, value = key.strip(), value.strip().strip('"')
        if not sign or not key or key.startswith("#"):
            continue
        if found.setdefault(key, value) != value:
            raise ValueError(f"{key} stands twice: {found[key]} and {value}")
    if not found:
        raise ValueError(f"no key{separator}value line")
    return found


def one_of(values: dict[str, str], *keys: str) -> str:
    """The value of the first of these keys that has one. Raises ValueError without any."""
    for key in keys:
        if values.get(key):
            return values[key]
    raise ValueError(f"no {' or '.join(keys)}")


def table(out: str) -> list[list[str]]:
    """The rows of a drawn table, as cells between `|`; rules and lines outside the table are left out."""
    return [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in out.splitlines()
        if line.strip().startswith("|") and line.strip().strip("|=+- ")
    ]
