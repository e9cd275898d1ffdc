"""Nodes as people write them, and hostfiles read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.errors import ManyErrors, UsageError
from llmctl.recipe.hosts import Node, parse_nodes, read_hostfile

names = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z]", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("node1", Node(name="node1")),
        ("root@node1", Node(name="node1", user="root")),
        ("node1=10.0.0.1", Node(name="node1", address="10.0.0.1")),
        ("node1:2222", Node(name="node1", port=2222)),
        ("me@n.a-b_c=host.example:22", Node(name="n.a-b_c", address="host.example", user="me", port=22)),
        ("node1=[fe80::1]:2222", Node(name="node1", address="fe80::1", port=2222)),
        ("10.0.0.1", Node(name="10.0.0.1")),
    ],
)
def test_a_node(text: str, node: Node) -> None:
    assert parse_nodes([text]) == (node,)


def test_ranges_are_expanded_in_order_with_their_zeros() -> None:
    nodes = parse_nodes(["root@node[01-03,10]:2222", "gpu[1-2]-a"])
    assert [node.name for node in nodes] == ["node01", "node02", "node03", "node10", "gpu1-a", "gpu2-a"]
    assert {(node.user, node.port) for node in nodes[:4]} == {("root", 2222)}


def test_many_small_ranges_are_no_large_one() -> None:
    assert len(parse_nodes(["n[1-300,400-700,900]"])) == 602


def test_groups_and_exclusions() -> None:
    groups = {"npu": ["node1", "node2", "node3"], "spare": ["node3"]}
    assert [node.name for node in parse_nodes(["node[1-8]!node3!node[5-6]"])] == [
        "node1",
        "node2",
        "node4",
        "node7",
        "node8",
    ]
    nodes = parse_nodes(["root@@npu!@spare:2222", "node9"], groups)
    assert [(node.name, node.user, node.port) for node in nodes] == [
        ("node1", "root", 2222),
        ("node2", "root", 2222),
        ("node9", None, None),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("node[1-4]!node7", "node7 is not among node[1-4]"),
        ("node[1-2]!node[1-2]", "leaves no node"),
        ("@gpu", "there are npu"),
        ("node[1-3]!node2=10.0.0.1", "cannot have one address"),
        ("node[1-999999999]", "more than 65536"),
        ("a[1-300]b[1-300]", "more than 65536"),
        ("a[1-300]b[" + ",".join(map(str, range(300))) + "]", "more than 65536"),
        ("@npu[1-2]", "no group"),
    ],
)
def test_groups_exclusions_and_ranges_are_strict(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_nodes([text], {"npu": ["node1"]})
    assert told in str(caught.value)


def test_a_hostfile_says_where_user_and_port_belong(tmp_path: Path) -> None:
    path = tmp_path / "hostfile"
    path.write_text("node1 slots=8 port=22\nroot@node[2-4]!node3:22 slots=8\n")
    with pytest.raises(ManyErrors) as caught:
        read_hostfile(path)
    assert "node1:2222 slots=8" in caught.value.errors[0].hint
    assert len(caught.value.errors) == 1


def test_every_mistake_is_told() -> None:
    with pytest.raises(ManyErrors) as caught:
        parse_nodes(
            ["", "a b", "node1:99999", "node[3-1]", "node[1-2]=10.0.0.1", "-oProxyCommand=x", "ok", "ok", "n;id"]
        )
    assert len(caught.value.errors) == 8
    assert "ok stands twice" in str(caught.value)


@given(st.lists(names, min_size=1, max_size=8, unique=True), st.integers(1, 64))
def test_a_written_hostfile_reads_back(tmp_path_factory: pytest.TempPathFactory, hosts: list[str], slots: int) -> None:
    path = tmp_path_factory.getbasetemp() / "hostfile"
    path.write_text("".join(f"{host} slots={slots}\n" for host in hosts))
    assert read_hostfile(path) == tuple(Node(name=host, slots=slots) for host in hosts)


@given(st.text(max_size=60))
def test_any_text_gives_nodes_or_an_error(text: str) -> None:
    try:
        nodes = parse_nodes([text])
    except UsageError:
        return
    assert all(node.name and not set(node.name) & set(" ;'\"$`\n") for node in nodes)


def test_comments_blank_lines_and_ranges(tmp_path: Path) -> None:
    path = tmp_path / "hostfile"
    path.write_text("# two kinds\n\nnode[1-2] slots=8  # big\n\tsmall\n")
    assert [(node.name, node.slots) for node in read_hostfile(path)] == [("node1", 8), ("node2", 8), ("small", None)]


def test_every_mistake_of_a_hostfile_has_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "hostfile"
    path.write_text(
        "node1 slots=8x\nnode2 slots=0\nnode3 slots=8 port=22\nnode4 slots = 8\nnode5 slots=8 slots=8\n"
        "node6 slots=8\nnode6 slots=8\nno;de slots=1\nnode8 slots=\n  node9 slots=-1\nnode10 slots=８\n"
    )
    with pytest.raises(ManyErrors) as caught:
        read_hostfile(path)
    places = [error.where.removeprefix(f"{path}:") for error in caught.value.errors]
    assert places == ["1:13", "2:13", "3:15", "4:7", "5:15", "7:1", "8:1", "9:13", "10:15", "11:14"]
    assert "first on line 6" in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n"])
def test_a_hostfile_without_nodes_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hostfile"
    path.write_text(text)
    with pytest.raises(UsageError, match="names no node"):
        read_hostfile(path)


def test_a_missing_hostfile_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such hostfile"):
        read_hostfile(tmp_path / "hostfile")
    with pytest.raises(UsageError, match="cannot be read"):
        read_hostfile(tmp_path)
