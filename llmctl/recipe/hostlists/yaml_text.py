"""YAML of host lists: read with the place of every key, written so that every reader takes texts for texts."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MantissaNoDotYAML1_1Warning, MarkedYAMLError, YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from llmctl.errors import UsageError
from llmctl.recipe.hostlists.lines import Word


def load(text: str, source: str) -> Any:
    """The document, read as Ansible does: YAML 1.1, in which `yes` is true. Raises UsageError with line and column."""
    yaml = YAML()
    yaml.version = (1, 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MantissaNoDotYAML1_1Warning)
            return yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise UsageError("is no YAML", where=where, why=str(error.problem or error.context)) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise UsageError("is no YAML", where=source, why=str(error)) from None


def entries(value: Any, word: Word, what: str) -> list[tuple[str, Word, Any]]:
    """Key, its place and the value of every entry; none for nothing. Raises Mistake for what is no mapping."""
    if value is None:
        return []
    if not isinstance(value, CommentedMap):
        raise word.mistake(f"{what} must be a mapping of names", "write `name:` instead of `- name`")
    found = []
    for key, content in value.items():
        line, column = value.lc.key(key)
        place = Word(str(key), line + 1, column + 1)
        if isinstance(key, bool) or key is None:
            raise place.mistake("YAML takes this name for true, false or nothing", 'put it in quotes: "no"')
        found.append((str(key), place, content))
    return found


def plain(value: Any) -> Any:
    """Without YAML's marks; what JSON does not know becomes text."""
    if isinstance(value, CommentedMap):
        return {str(key): plain(inside) for key, inside in value.items()}
    if isinstance(value, CommentedSeq):
        return [plain(inside) for inside in value]
    if value is None or isinstance(value, bool):
        return value
    kind = next((kind for kind in (int, float) if isinstance(value, kind)), str)
    return kind(value)


def dump(value: Any) -> str:
    """A document in YAML, nothing as an empty place."""
    yaml = YAML()
    yaml.width = 4096
    yaml.allow_unicode = True
    yaml.representer.add_representer(type(None), _empty)
    stream = io.StringIO()
    yaml.dump(_quoted(value), stream)
    return stream.getvalue()


def _quoted(value: Any) -> Any:
    """All texts in quotes, so that no reader of YAML takes them for something else."""
    if isinstance(value, dict):
        return {_name(key): _quoted(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_quoted(inside) for inside in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) else value


def _name(name: str) -> str:
    """A name, in quotes unless it is plain, and where the YAML 1.1 that Ansible reads would take it for a truth."""
    is_plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) and not re.fullmatch(r"(?i)y|n|yes|no|on|off", name)
    return name if is_plain else DoubleQuotedScalarString(name)


def _empty(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "")
