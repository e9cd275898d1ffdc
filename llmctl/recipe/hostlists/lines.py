"""Files of lines, read strictly: every mistake is told at once, with its line and column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from llmctl.errors import ManyErrors, UsageError


@dataclass(frozen=True)
class Word:
    """A piece of a file and where it begins, both counted from 1."""

    text: str
    line: int
    column: int

    def at(self, offset: int) -> Word:
        """What begins `offset` characters later."""
        return Word(self.text[offset:], self.line, self.column + offset)

    def mistake(self, what: str, hint: str = "") -> Mistake:
        """The error that says what is wrong here."""
        return Mistake(self, what, hint)


class Mistake(Exception):
    """Something wrong at a word; the reader turns it into an error with the file's name."""

    def __init__(self, word: Word, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.word, self.what, self.hint = word, what, hint

    def error(self, source: str) -> UsageError:
        return UsageError(self.what, where=f"{source}:{self.word.line}:{self.word.column}", hint=self.hint)


WORD = r"\S+"
T = TypeVar("T")
R = TypeVar("R")


def split_words(text: str, pattern: str = WORD) -> list[list[Word]]:
    """The words of every line that has any; `#` and what follows it on a line is left out."""
    lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.split("#", 1)[0]
        words = [Word(found.group(), number, found.start() + 1) for found in re.finditer(pattern, content)]
        if words:
            lines.append(words)
    return lines


def read_each(items: Iterable[T], read: Callable[[T], R], source: str) -> list[R]:
    """`read` of every item. Raises ManyErrors that names all mistakes."""
    results: list[R] = []
    mistakes: list[UsageError] = []
    for item in items:
        try:
            results.append(read(item))
        except Mistake as mistake:
            mistakes.append(mistake.error(source))
    if mistakes:
        raise ManyErrors(mistakes, where=source)
    return results


def whole_number(word: Word, name: str, *, least: int = 1, most: int | None = None) -> int:
    """The number that a word is. Raises Mistake for anything else."""
    if not re.fullmatch(r"[0-9]{1,9}", word.text, re.ASCII):
        raise word.mistake(f"{name} must be a whole number, not {word.text!r}")
    number = int(word.text)
    if number < least or (most is not None and number > most):
        bound = f"at least {least}" if most is None else f"between {least} and {most}"
        raise word.mistake(f"{name} must be {bound}, not {number}")
    return number


def plain_name(word: Word) -> str:
    """The name of one host, without range, port or address. Raises Mistake."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", word.text):
        raise word.mistake(f"{word.text!r} is no host name")
    return word.text


def user_name(word: Word) -> str:
    """The name of an account. Raises Mistake."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", word.text):
        raise word.mistake(f"{word.text!r} is no user name")
    return word.text


def refuse_twice(words: Sequence[tuple[str, Word]], source: str) -> None:
    """Raises ManyErrors naming each name that stands a second time and the line of the first."""
    first: dict[str, int] = {}
    mistakes = []
    for name, word in words:
        if name in first:
            mistakes.append(word.mistake(f"{name} stands twice", f"first on line {first[name]}").error(source))
        first.setdefault(name, word.line)
    if mistakes:
        raise ManyErrors(mistakes, where=source)
