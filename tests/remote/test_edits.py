"""Edits of files that also belong to others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.errors import UsageError
from llmctl.remote.edits import (
    BEGIN,
    END,
    diff,
    key_blob,
    other_mappings,
    with_block,
    with_hosts,
    with_keys,
    with_stanzas,
    without_keys,
)

BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIGJ1dCBub3QgYSByZWFsIGtleSwgb25seSBpdHMgZm9y"
KEY = f"ssh-ed25519 {BLOB} me@here"
text_files = st.text(alphabet="ab#\n \t>中\r", max_size=60)


@given(text_files, st.booleans())
def test_a_block_comes_and_goes_without_a_trace(text: str, first: bool) -> None:
    once = with_block(text, ["one", "two"], "f", first=first)
    assert with_block(once, ["one", "two"], "f", first=first) == once
    assert with_block(once, [], "f") == text


@given(text_files)
def test_a_block_stands_on_lines_of_its_own(text: str) -> None:
    lines = with_block(text, ["one"], "f").split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("# >>> llmctl managed"))
    assert lines[start + 1 : start + 3] == ["one", END]


@pytest.mark.parametrize(
    "text", [BEGIN, END, f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n", f"{BEGIN}\n{END}\n{END}"]
)
def test_a_damaged_block_is_refused_with_its_lines(text: str) -> None:
    with pytest.raises(UsageError, match="line 1"):
        with_block(text, ["x"], "node1:/etc/hosts")


def test_a_key_is_added_once_whatever_stands_around_it() -> None:
    text = f"command=\"echo 'hi'\",no-pty {KEY}"
    assert with_keys(text, [KEY], "f") == (text, [])
    other = KEY.replace("AAAAC3", "AAAAC4")
    added, blobs = with_keys(text, [other, KEY], "f")
    assert added.splitlines()[0] == text
    assert blobs == [key_blob(other)]
    assert with_keys(added, [other, KEY], "f") == (added, [])
    assert without_keys(added, blobs, "f") == text


def test_a_commented_key_does_not_count() -> None:
    assert with_keys(f"# {KEY}\n", [KEY], "f")[1] == [BLOB]


def test_the_keys_of_another_launcher_stay() -> None:
    one, two = KEY, KEY.replace("AAAAC3", "AAAAC4")
    both = with_keys(with_keys("", [one], "f")[0], [two], "f")[0]
    assert without_keys(both, [BLOB], "f") == with_keys("", [two], "f")[0]


def test_hosts_keep_the_names_that_were_managed_before() -> None:
    text = with_hosts("127.0.0.1 localhost\n", {"node1": "10.0.0.1", "node2": "10.0.0.2"}, "f")
    text = with_hosts(text, {"node2": "10.0.0.9", "node3": "10.0.0.3"}, "f")
    assert text.splitlines()[2:-1] == ["10.0.0.1\tnode1", "10.0.0.9\tnode2", "10.0.0.3\tnode3"]


def test_other_lines_with_the_same_name_are_told() -> None:
    text = with_hosts("127.0.0.1 localhost\n127.0.1.1 x node1 # own\n", {"node1": "10.0.0.1"}, "f") + "10.0.0.7 node1\n"
    told = other_mappings(text, {"node1": "10.0.0.1"}, "/etc/hosts")
    assert [line.partition(" maps ")[0] for line in told] == ["/etc/hosts, line 2", "/etc/hosts, line 6"]
    assert "loopback" in told[0]
    assert "loopback" not in told[1]


def test_the_stanzas_of_other_hosts_stay_and_what_follows_keeps_its_meaning() -> None:
    text = with_stanzas("User someone\n", ["Host a", "    Port 1", "Host b", "    Port 2"], "f")
    text = with_stanzas(text, ["Host b", "    Port 3"], "f")
    assert text.splitlines()[1:-2] == ["Host a", "    Port 1", "Host b", "    Port 3", "Host *"]
    assert text.endswith(f"{END}\nUser someone\n")


def test_a_diff_shows_a_missing_newline() -> None:
    assert diff("a", "a\nb\n", "f").splitlines()[3:] == ["-a", "\\ no newline at the end", "+a", "+b"]
    assert diff("a", "a", "f") == ""
