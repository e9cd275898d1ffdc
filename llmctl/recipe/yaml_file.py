"""A YAML file that is a mapping of keys, with the place of every mistake in it."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from llmctl.errors import UsageError


def read_mapping(path: Path, *, what: str, hint: str) -> CommentedMap:
    """The file's mapping, with the lines of its keys. `what` it is, as in "a recipe", and the `hint` that shows one.

    Raises UsageError with line and column for anything that is no YAML, OSError when it cannot be read."""
    try:
        document = YAML().load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError("is not UTF-8 text", where=str(path), why=f"byte {error.start} cannot be read") from None
    except DuplicateKeyError as error:
        raise UsageError("a key stands twice", where=_marked(path, error), why=str(error.problem)) from None
    except MarkedYAMLError as error:
        raise UsageError("is no YAML", where=_marked(path, error), why=str(error.problem or error.context)) from None
    except YAMLError as error:
        raise UsageError("is no YAML", where=str(path), why=str(error)) from None
    if not isinstance(document, CommentedMap):
        raise UsageError(f"{what} is a mapping of keys", where=str(path), hint=hint)
    return document


def _marked(path: Path, error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
