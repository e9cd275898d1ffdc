"""The one way of a value into a shell, tried on a real shell."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmctl.errors import UsageError
from llmctl.quoting import sh_quote

HOSTILE = [
    "", " ", "a b", "a'b", 'a"b', "a'; echo foo", "$HOME", "`id`", "$(id)", "a\\", "a\nb", "-n", "*", "~", "#x", "!x",
    "a&b|c", "中文 数据", "x=1",
]  # fmt: skip


def through_shell(text: str, shell: str = "sh") -> str:
    done = subprocess.run([shell, "-c", f"printf %s {sh_quote(text)}"], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_hostile_text_comes_out_as_it_went_in(text: str, shell: str) -> None:
    assert through_shell(text, shell) == text


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=40))
def test_any_text_comes_out_as_it_went_in(text: str) -> None:
    assert through_shell(text) == text


def test_numbers_and_truth_values_are_words_of_yaml() -> None:
    assert [sh_quote(value) for value in (1200, 0.5, True, False)] == ["1200", "0.5", "true", "false"]


def test_nul_is_refused() -> None:
    with pytest.raises(UsageError, match="NUL"):
        sh_quote("a\0b")
