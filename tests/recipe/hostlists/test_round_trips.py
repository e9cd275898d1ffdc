"""What is written reads back as it was, in every format, as far as the format carries it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ClusterShell.NodeSet import NodeSet
from hypothesis import given, settings
from hypothesis import strategies as st

from llmctl.errors import UsageError
from llmctl.recipe.hostlists import FORMATS
from llmctl.recipe.hostlists.losses import FIELDS, losses
from llmctl.recipe.hostlists.values import Host, HostList
from llmctl.recipe.hosts import Node

names = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,5}", fullmatch=True),
    st.builds("n{}".format, st.integers(0, 120)),
    st.builds("n{:02}".format, st.integers(0, 120)),
    st.builds("gpu-{:03}-ib".format, st.integers(0, 120)),
    st.builds("r{}n{}".format, st.integers(0, 3), st.integers(0, 12)),
    st.sampled_from(["yes", "no", "on", "null", "1e3", "10.0.0.1", "10.0.0.2", "all", "hosts"]),
)
count = st.integers(1, 9999)
addresses = st.sampled_from(["10.0.0.1", "host.example", "fe80::1", "::1", "1"])
users = st.sampled_from(["root", "me", "a.b-c", "0"])
scalars = st.one_of(st.text(max_size=12), st.integers(-(10**9), 10**9), st.booleans(), st.none())
variables = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True).map("v_{}".format),
    st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(st.text(max_size=5), scalars, max_size=2)),
    max_size=3,
)

PIECES = [
    "node", "[1-3]", "[01:03]", "slots=", "8", ":", "=", "@", "#", "'", '"', "all:", "hosts:", "[g]", "[g:vars]", ",",
    "{", "节点", "ansible_port=", "- ", "\n", " ", "\t", "  ", "\0",
]  # fmt: skip


@st.composite
def host_lists(draw: st.DrawFn, carries: frozenset[str]) -> HostList:
    """Lists that hold nothing which the format leaves out."""

    def some(field: str, values: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | values) if field in carries else None

    hosts = []
    for name in draw(st.lists(names, min_size=1, max_size=12, unique=True)):
        address = some("address", addresses)
        node = Node(
            name=name,
            address=address if address != name else None,
            user=some("user", users),
            port=some("port", st.integers(1, 65535)),
            slots=some("slots", count),
        )
        most = some("max_slots", count)
        if most is not None and node.slots is not None:
            most = max(most, node.slots)
        given_variables = draw(variables) if "variables" in carries else {}
        hosts.append(Host(node=node, max_slots=most, variables=given_variables))
    groups: dict[str, tuple[str, ...]] = {}
    if "groups" in carries:
        members = st.lists(st.sampled_from([host.name for host in hosts]), min_size=1, unique=True)
        for group, chosen in draw(st.dictionaries(st.sampled_from(["g1", "npu", "no", "x-y"]), members)).items():
            groups[group] = tuple(host.name for host in hosts if host.name in chosen)
    return HostList(hosts=tuple(hosts), groups=groups)


@pytest.mark.parametrize("name", FORMATS)
def test_written_and_read_again(name: str) -> None:
    handler = FORMATS[name]

    @settings(max_examples=100, deadline=None)
    @given(host_lists(handler.carries))
    def holds(hosts: HostList) -> None:
        if name == "deepspeed":  # every line of it has slots
            hosts = replace(hosts, hosts=tuple(_with_slots(host) for host in hosts.hosts))
        text = handler.write(hosts)
        kept = handler.read(text, "hosts")
        assert kept == hosts
        assert not [line for line in losses(hosts, kept, name, handler.carries) if "order" not in line]

    holds()


def _with_slots(host: Host) -> Host:
    return replace(host, node=replace(host.node, slots=host.node.slots or 1))


@settings(max_examples=100, deadline=None)
@given(st.lists(names, min_size=1, max_size=20, unique=True))
def test_a_nodelist_means_the_same_to_clustershell(hosts: list[str]) -> None:
    text = FORMATS["slurm"].write(HostList(hosts=tuple(Host(node=Node(name=name)) for name in hosts)))
    assert set(NodeSet(text.strip())) == set(hosts)


@pytest.mark.parametrize("name", FORMATS)
def test_any_text_gives_hosts_or_an_error(name: str) -> None:
    words = st.sampled_from(PIECES)
    texts = st.one_of(st.text(max_size=40), st.lists(words, max_size=15).map("".join))

    @settings(max_examples=100, deadline=None)
    @given(texts)
    def holds(text: str) -> None:
        try:
            hosts = FORMATS[name].read(text, "hosts")
        except UsageError:
            return
        for host in hosts.hosts:
            told = f"{host.name} {host.node.address} {host.node.user}"
            assert host.name
            assert not set(told) & set(";'\"$`\n\0")

    holds()


@pytest.mark.parametrize("field", [field for field in FIELDS if field != "order"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_a_format_cannot_carry_is_told(name: str, field: str) -> None:
    node = {"address": "10.0.0.1", "port": 2222, "user": "me", "slots": 8}
    whole = HostList(
        hosts=(
            Host(
                node=Node(name="n1", **({field: node[field]} if field in node else {})),  # type: ignore[arg-type]
                max_slots=16 if field == "max_slots" else None,
                variables={"rack": 3} if field == "variables" else {},
            ),
        ),
        groups={"npu": ("n1",)} if field == "groups" else {},
    )
    kept = whole if field in FORMATS[name].carries else HostList(hosts=(Host(node=Node(name="n1")),))
    told = losses(whole, kept, name, FORMATS[name].carries)
    assert len(told) == (field not in FORMATS[name].carries)
    assert all("n1" in line or "npu" in line for line in told)


def test_slurm_tells_a_lost_order_only() -> None:
    def told(*hosts: str) -> list[str]:
        whole = HostList(hosts=tuple(Host(node=Node(name=name)) for name in hosts))
        return losses(whole, whole, "slurm", FORMATS["slurm"].carries)

    assert told("n1", "n2", "n10") == []
    assert len(told("n2", "n1")) == 1
