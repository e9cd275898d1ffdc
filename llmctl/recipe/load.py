"""Recipe files to Recipe values: every mistake at once, with its line, key path and a suggestion."""

from __future__ import annotations

import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from llmctl.errors import ManyErrors, UsageError
from llmctl.recipe.schema import Recipe, contradictions
from llmctl.recipe.yaml_file import read_mapping
from llmctl.resources import data_dir

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe and the folder that its relative paths start from."""

    recipe: Recipe
    path: Path

    @property
    def folder(self) -> Path:
        return self.path.parent

    def place(self, *keys: str) -> str:
        """Where a key stands: file and line, or `--set`."""
        document = read_mapping(self.path, what="a recipe", hint="llmctl recipes show quickstart")
        if not _in_file(keys, document):
            return f"--set {'.'.join(keys)}"
        return f"{self.path}:{_place(keys, document, {}).removeprefix('line ')}"


def load_recipe(source: str | Path, sets: Sequence[str] = ()) -> LoadedRecipe:
    """Read the recipe at `source` (a file, or the name of a shipped one) and apply `--set a.b=c` in order.

    Raises UsageError (ManyErrors) that names every mistake.
    """
    path = find_recipe(source)
    document = read_mapping(path, what="a recipe", hint="llmctl recipes show quickstart")
    origin: dict[KeyPath, str] = {}
    errors: list[UsageError] = []
    for text in sets:
        try:
            keys = _apply_set(document, text)
            origin[keys] = f"--set {'.'.join(map(str, keys))}"
        except UsageError as error:
            errors.append(error)
    values = _plain(document)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as invalid:
        errors += [_explain(detail, document, origin) for detail in _without_echoes(invalid.errors()) if detail["loc"]]
        for key, message in contradictions(values):
            errors.append(UsageError(f"{key}: {message}", where=_place(tuple(key.split(".")), document, origin)))
        errors.sort(key=lambda error: (not error.where.startswith("line "), len(error.where), error.where))
        raise ManyErrors(errors, where=str(path), hint="llmctl recipes schema") from None
    if errors:
        raise ManyErrors(errors, where=str(path))
    return LoadedRecipe(recipe=recipe, path=path)


def find_recipe(source: str | Path) -> Path:
    """The file at `source`; else the shipped recipe of that name. Raises UsageError with the names that are there."""
    path = Path(source)
    if path.is_file():
        return path.resolve()
    shipped = {file.stem: file for file in sorted(data_dir("recipes").glob("*.yaml"))}
    if path.name == str(source) and path.stem in shipped:
        return shipped[path.stem].resolve()
    near = difflib.get_close_matches(path.stem, shipped, n=1)
    raise UsageError(
        "is a folder, not a recipe" if path.is_dir() else "no such recipe",
        where=str(source),
        why=f"shipped are {', '.join(shipped)}",
        hint=f"llmctl run {near[0]}" if near else "llmctl recipes list",
    )


def as_words(source: str, sets: Sequence[str]) -> list[str]:
    """A recipe with its changes, as it is given to a command."""
    return [source, *(word for each in sets for word in ("--set", each))]


def dump_recipe(recipe: Recipe) -> str:
    """The recipe, fully resolved, as YAML in the order of the schema."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 2**31  # a folded line loses spaces
    yaml.allow_unicode = True
    yaml.dump(_line_ends_quoted(recipe.model_dump(mode="json", exclude_none=True)), stream)
    return stream.getvalue()


def _line_ends_quoted(value: Any) -> Any:
    """Text with Unicode's own line ends in quotes: without them YAML reads a line feed, or nothing."""
    if isinstance(value, dict):
        return {key: _line_ends_quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_line_ends_quoted(item) for item in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) and set(value) & set(_LINE_ENDS) else value


_LINE_ENDS = "\x85\u2028\u2029\ufeff"


def _apply_set(document: CommentedMap, text: str) -> KeyPath:
    key, equals, value = text.partition("=")
    keys = tuple(key.strip().split("."))
    if not equals or not all(keys):
        raise UsageError(f"--set {text}: needs the form key.path=value", hint="--set train.epochs=1")
    node: Any = document
    for index, part in enumerate(keys[:-1]):
        child = node.get(part)
        if child is None:
            child = node[part] = CommentedMap()
        if not isinstance(child, CommentedMap):
            raise UsageError(f"--set {text}: {'.'.join(keys[: index + 1])} is a value, not a block")
        node = child
    try:
        node[keys[-1]] = YAML().load(value) if value.strip() else None
    except YAMLError:
        raise UsageError(f"--set {text}: the value is no YAML") from None
    return keys


def _plain(value: Any) -> Any:
    """Comments and marks dropped; YAML's integers given for floats stay what they are."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool):
        return bool(value)
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """A union tells one mistake once for each member; keep the first of each place."""
    kept: dict[KeyPath, ErrorDetails] = {}
    for detail in details:
        kept.setdefault(_known_part(tuple(detail["loc"])), detail)
    return list(kept.values())


def _known_part(loc: KeyPath) -> KeyPath:
    return tuple(part for part in loc if not (isinstance(part, str) and part in ("str", "int", "float", "bool")))


_PLAIN_WORDS = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "model_type": "must be a block of keys",
    "dict_type": "must be a block of keys",
    "too_short": "must not be empty",
}


def _explain(detail: ErrorDetails, document: CommentedMap, origin: dict[KeyPath, str]) -> UsageError:
    loc = _known_part(tuple(detail["loc"]))
    kind, context = detail["type"], detail.get("ctx", {})
    message, hint = _PLAIN_WORDS.get(kind, detail["msg"].removeprefix("Value error, ")), ""
    if kind == "extra_forbidden":
        valid = _fields_at(loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), valid, n=1)
        message = "unknown key"
        hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(valid)}"
    elif kind == "literal_error":
        near = difflib.get_close_matches(str(detail["input"]), str(context["expected"]).replace("'", "").split(), n=1)
        message = f"must be {str(context['expected']).replace(chr(39), '')}"
        hint = f"did you mean {near[0].strip(',')}?" if near else ""
    elif kind == "greater_than_equal":
        message = f"must be at least {context['ge']}"
    elif kind == "greater_than":
        message = f"must be more than {context['gt']}"
    elif kind == "less_than_equal":
        message = f"must be at most {context['le']}"
    elif kind == "less_than":
        message = f"must be less than {context['lt']}"
    elif kind == "string_type" and loc[:2] == ("cluster", "env"):
        message = "must be text, a number, true or false"
    elif kind == "string_type" and isinstance(detail["input"], (int, float)):
        hint = f'quote it: "{detail["input"]}"'
    elif kind == "string_pattern_mismatch" and loc != ("name",):
        message = "must be a plain name or address"
    elif kind == "string_pattern_mismatch":
        message = "must be letters, digits, dot, dash or underscore, 64 at most, and begin with a letter or digit"
    if kind not in ("missing", "extra_forbidden", "value_error") and not isinstance(detail["input"], (dict, list)):
        message += f", not {detail['input']!r}"
    return UsageError(f"{'.'.join(map(str, loc))}: {message}", where=_place(loc, document, origin), hint=hint)


def _place(loc: KeyPath, document: CommentedMap, origin: dict[KeyPath, str]) -> str:
    for length in range(len(loc), 0, -1):
        if loc[:length] in origin:
            return origin[loc[:length]]
    if loc:
        whole_block = next((told for keys, told in origin.items() if keys[: len(loc)] == loc), None)
        if whole_block and not _in_file(loc, document):
            return whole_block
    node: Any = document
    line: int | None = None
    for part in loc:
        try:
            line = (node.lc.key(part) if isinstance(node, CommentedMap) else node.lc.item(part))[0]
            node = node[part]
        except (KeyError, IndexError, AttributeError, TypeError):
            break
        if not isinstance(node, (CommentedMap, CommentedSeq)):
            break
    return f"line {line + 1}" if line is not None else "line 1"


def _in_file(loc: KeyPath, document: CommentedMap) -> bool:
    """Whether the key stands in the file itself; one that only `--set` brought has no line."""
    node: Any = document
    for part in loc[:-1]:
        node = node.get(part) if isinstance(node, CommentedMap) else None
    return isinstance(node, CommentedMap) and loc[-1] in (node.lc.data or {})


def _fields_at(loc: KeyPath) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in loc:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
