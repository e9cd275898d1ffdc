"""Secrets and names taken out of texts before somebody else reads them. Rather too much than too little."""

from __future__ import annotations

import base64
import binascii
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

MASK = "[masked]"
SHORTEST = 6
"""Characters that a value needs to be searched for everywhere; a shorter one would be found in every number."""

_WORDS = ("password", "passwd", "passphrase", "secret", "apikey", "accesskey", "privatekey", "credential", "cookie",
          "authorization", "signature")  # fmt: skip
_HARMLESS = frozenset("pad eos bos unk sep cls mask image video audio start end special stop new per".split())  # noqa: SIM905
_PLACES = frozenset(["file", "path", "dir", "folder", "id", "ids"])


def is_secret_name(name: str) -> bool:
    """Whether a variable, key or option of this name holds a secret: HF_TOKEN and password do, pad_token and
    tokens_per_second do not."""
    words = [word for word in re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()) if word]
    if not words or words[-1] in _PLACES:
        return False
    if any(word in "".join(words) for word in _WORDS):
        return True
    if words[-1] == "token":
        return len(words) == 1 or words[-2] not in _HARMLESS
    if words[-1] in ("pass", "pwd"):
        return len(words) > 1 and words[-2] != "old"
    return words[-1] == "key" and len(words) > 1 and name.isupper()


def secret_values(variables: Mapping[str, object]) -> frozenset[str]:
    """The values of those variables whose names say that they are secret."""
    return frozenset(
        str(value) for name, value in variables.items() if is_secret_name(name) and value not in (None, "")
    )


@dataclass(frozen=True)
class Redacted:
    """A text that may be shown, and how many places of it were masked."""

    text: str
    masked: int


class Redactor:
    """Masks `secrets` and whatever looks like one; replaces each name of `names` by what it stands for, and with
    `addresses` every address of machines and people."""

    def __init__(
        self, secrets: Iterable[str] = (), names: Mapping[str, str] | None = None, *, addresses: bool = False
    ) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST}
        self._literal = _any_of(forms)
        self._names = {name: stand_in for name, stand_in in (names or {}).items() if name}
        self._named = _any_of(self._names, edges=r"A-Za-z0-9_")
        self._addresses = addresses
        self._known: dict[str, str] = {}

    def text(self, text: str) -> Redacted:
        """`text` without secrets and names. Two calls give one address the same stand-in."""
        text, count = _mask_keys(text)
        if self._literal:
            text, found = self._literal.subn(MASK, text)
            count += found
        text = _BASE64.sub(self._unpacked, text)
        for pattern, new in _SHAPES:
            text, found = pattern.subn(new, text)
            count += found
        for pattern in _NAMED:
            text, found = _mask_named(pattern, text)
            count += found
        return Redacted(self._anonymous(text), count)

    def name(self, text: str) -> str:
        """A file's name without the names of machines and people."""
        return self._anonymous(text)

    def _unpacked(self, match: re.Match[str]) -> str:
        """Base64 that hides a secret or a name is masked whole."""
        word = match.group()
        try:
            inside = base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_").decode("utf-8")
        except (binascii.Error, ValueError):
            return word
        hidden = (pattern is not None and pattern.search(inside) for pattern in (self._literal, self._named))
        return MASK if any(hidden) else word

    def _anonymous(self, text: str) -> str:
        if self._named:
            text = self._named.sub(lambda match: self._names[match.group()], text)
        if self._addresses:
            for kind, pattern in _ADDRESSES.items():
                text = pattern.sub(lambda match, kind=kind: self._stand_in(kind, match.group()), text)  # type: ignore[misc]
        return text

    def _stand_in(self, kind: str, found: str) -> str:
        if found.startswith(("127.", "0.0.0.0", "255.")) or found in ("::", "::1"):  # noqa: S104 - a text
            return found
        number = 1 + sum(known.startswith(f"{kind}-") for known in self._known.values())
        return self._known.setdefault(found, f"{kind}-{number}")


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as shells, JSON, YAML and URLs write it; of several lines each."""
    forms = {secret, *(line.strip() for line in secret.splitlines())}
    forms |= {shlex.quote(form)[1:-1] for form in forms if shlex.quote(form) != form}
    forms |= {json.dumps(form, ensure_ascii=ascii)[1:-1] for form in list(forms) for ascii in (True, False)}
    forms |= {form.replace("'", "''") for form in list(forms)}
    return forms | {quote(secret), quote(secret, safe=""), quote_plus(secret)}


def _any_of(words: Iterable[str], *, edges: str = "") -> re.Pattern[str] | None:
    """A pattern that finds any of the words, the longest first; None without words."""
    found = sorted(words, key=len, reverse=True)
    if not found:
        return None
    body = "|".join(map(re.escape, found))
    return re.compile(rf"(?<![{edges}])(?:{body})(?![{edges}])" if edges else body)


def _mask_keys(text: str) -> tuple[str, int]:
    """Private keys masked, also where only the beginning or the end of one is left."""
    text, count = _KEY_BLOCK.subn(MASK, text)
    while (end := _KEY_END.search(text)) is not None:
        start = text.rfind("\n", 0, end.start()) + 1
        while start and _KEY_LINE.search(text, text.rfind("\n", 0, start - 1) + 1, start - 1):
            start = text.rfind("\n", 0, start - 1) + 1
        text, count = text[:start] + MASK + text[end.end() :], count + 1
    return text, count


def _mask_named(pattern: re.Pattern[str], text: str) -> tuple[str, int]:
    """The values masked whose names say that they are secret. Other values are looked into."""
    pieces: list[str] = []
    done = at = count = 0
    while (match := pattern.search(text, at)) is not None:
        value = match["value"]
        number = re.fullmatch(r"-?[0-9]{1,12}(?:\.[0-9]+)?[,}\]]*", value.strip())
        harmless = number is not None or _SPECIAL_TOKEN.fullmatch(value.strip())
        of_text = harmless and match["name"].lower().endswith("token")
        done_before = MASK in value or text.startswith(MASK, match.start("value"))
        if of_text or done_before or not is_secret_name(match["name"]):
            at = match.start("value")
            continue
        opening = re.match(r"\\*['\"]", value)
        mark = opening.group() if opening else match.groupdict().get("close") or ""
        pieces += [text[done : match.start("value")], mark + MASK + mark]
        done = at = match.end("value")
        count += 1
    return "".join([*pieces, text[done:]]), count


_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}+={0,2}")
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_KEY_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY-----")
_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{16,}\s*$")
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<=://)[^\s/?#'\"<>]+(?=@)"), MASK),
    (re.compile(r"(?<=://)[^\s/:@'\"<>]++:(?![0-9]+[/?#])[^\s@'\"<>]++(?=@)"), MASK),
    (
        re.compile(
            r"\bhf_[A-Za-z0-9]{16,}|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\bsk-[\w-]{16,}"
            r"|\bA[KS]IA[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bxox[abprs]-[\w-]{8,}|\bms-[0-9a-f]{8}-[0-9a-f-]{20,}"
            r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
        ),
        MASK,
    ),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1\2{MASK}"),
    (
        re.compile(r"(?im)(\blogin\s+\S+\s+password\s+|^\s*password\s+|\bsshpass\s+-p\s*)('[^'\n]*'|\"[^\"\n]*\"|\S+)"),
        rf"\1{MASK}",
    ),
)
_SPECIAL_TOKEN = re.compile(r"""(['"]?)(?:<([|｜])[A-Za-z_▁]{1,32}\2>|</?[a-z_]{1,11}>)\1[,}\]]*""")
"""`<|im_end|>`, `</s>`: marks that a tokenizer knows. What opens an account has digits, or is longer."""
_QUOTED = r"\\+\"(?:(?!\\+\").)*\\+\"|\\+'(?:(?!\\+').)*\\+'|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
_VALUE = rf"(?P<value>(?:{_QUOTED}|\\.|[^\s'\"\\,;&)}}\]])+)"
_NAME = r"(?<![\w.-])-{0,2}(?P<name>[A-Za-z_][\w.-]*+)"
_WORD = r"(?P<value>'[^'\n]*'|\"[^\"\n]*\"|[^\s'\"-]\S*)"
_NAMED = (
    re.compile(rf"(?<!\S)(?:-{{1,2}}|setenv\s+|set\s+-g?x\s+)(?P<name>[A-Za-z][\w-]*+)[ \t]+{_WORD}"),
    re.compile(rf"{_NAME}(?:\\*['\"])?\s*=\s*{_VALUE}"),
    re.compile(rf"{_NAME}(?P<close>\\*['\"])\s*:\s*{_VALUE}"),
    re.compile(rf"{_NAME}[ \t]*:[ \t]+(?P<value>[^\n]+)"),
)
"""Options with their value, assignments, entries with a quoted name, and `name: value` to the end of its line."""
_ADDRESSES = {
    "email": re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]+(?:\.[\w-]+)+"),
    "mac": re.compile(r"(?i)\b[0-9a-f]{2}(?::[0-9a-f]{2}){5,19}\b"),
    "ip": re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"),
    "ip6": re.compile(
        r"(?i)(?<![\w:])(?:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}"
        r"|(?=[0-9a-f:]*[0-9])[0-9a-f]{3,4}(?::[0-9a-f]{1,4}){0,6}::(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?)(?![\w:])"
    ),
}
"""Times of day and slices of lists are no addresses, so an IPv6 one begins with three digits or is written out."""
