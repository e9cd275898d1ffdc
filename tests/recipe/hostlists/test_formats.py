"""Host lists as other programs write them, read to the same hosts."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from llmctl.errors import ManyErrors, UsageError
from llmctl.recipe.hostlists import FORMATS
from llmctl.recipe.hostlists.guess import guess_format
from llmctl.recipe.hostlists.losses import losses
from llmctl.recipe.hostlists.values import Host, HostList
from llmctl.recipe.hosts import Node
from llmctl.remote.hostsettings import read_settings


def read(name: str, text: str) -> HostList:
    return FORMATS[name].read(textwrap.dedent(text).lstrip("\n"), "hosts")


def places(name: str, text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        read(name, text)
    errors = caught.value.errors if isinstance(caught.value, ManyErrors) else [caught.value]
    return [error.where.removeprefix("hosts:") for error in errors]


def slots(hosts: HostList) -> dict[str, int | None]:
    return {host.name: host.node.slots for host in hosts.hosts}


OPENMPI = """
    # two kinds of machines
    aa slots=2
    bb slots=3 max_slots=4
    me@cc slots = 1   # with blanks
    dd count=2 max-slots=2

    node15
"""
PBS = "node001\nnode001\nnode002\nnode002\n"
HYDRA = """
    # comment
    host1:4 binding=user:0,1
    host2:2 user=me
    host3
"""
INTEL = "clusternode1:16\nclusternode2:16\n"


def test_open_mpi() -> None:
    hosts = read("mpi", OPENMPI)
    assert slots(hosts) == {"aa": 2, "bb": 3, "cc": 1, "dd": 2, "node15": None}
    assert [host.max_slots for host in hosts.hosts] == [None, 4, None, 2, None]
    assert hosts.hosts[2].node.user == "me"
    assert hosts.remarks == ()


def test_a_file_of_repeated_names_counts_them() -> None:
    for name in ("mpi", "mpich"):
        hosts = read(name, PBS)
        assert slots(hosts) == {"node001": 2, "node002": 2}
        assert "node001 stands 2 times: counted as 2 slots" in hosts.remarks


def test_repeated_lines_with_numbers_add_up() -> None:
    assert slots(read("mpi", "a slots=2\nb slots=1\na slots=3 max_slots=3\n")) == {"a": 5, "b": 1}
    assert slots(read("mpich", "a:2\na\n")) == {"a": 3}
    (host,) = read("mpi", "a slots=5 max_slots=6\na slots=5\n").hosts
    assert (host.node.slots, host.max_slots) == (10, 10)


def test_hydra_tells_what_it_leaves_out() -> None:
    hosts = read("mpich", HYDRA)
    assert slots(hosts) == {"host1": 4, "host2": 2, "host3": None}
    assert hosts.hosts[1].node.user == "me"
    assert hosts.remarks == ("host1: binding=user:0,1 is left out; no other format has it",)
    assert slots(read("mpich", INTEL)) == {"clusternode1": 16, "clusternode2": 16}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node[01-03],gpu3\n", ["node01", "node02", "node03", "gpu3"]),
        ("nid[000012,000020-000021]", ["nid000012", "nid000020", "nid000021"]),
        ("rack[0-1]node[1-2]", ["rack0node1", "rack0node2", "rack1node1", "rack1node2"]),
        ("a1,b1", ["a1", "b1"]),
        ("# scontrol show hostnames\nnode1\nnode2\n", ["node1", "node2"]),
        ("g-[1-2]-ib0", ["g-1-ib0", "g-2-ib0"]),
        ("g-[08-10]-ib0,g-1", ["g-08-ib0", "g-09-ib0", "g-10-ib0", "g-1"]),
    ],
)
def test_nodelists(text: str, names: list[str]) -> None:
    hosts = read("slurm", text)
    assert hosts.names == names
    assert read("slurm", FORMATS["slurm"].write(hosts)).names == names


def test_an_inventory_with_everything() -> None:
    hosts = read(
        "ansible",
        """
        # the first host belongs to no group
        jump ansible_host=10.0.0.9
        ; another kind of comment

        [npu]
        node[01:03] ansible_user=root slots=8 # inline
        node04:2222 note='two words' expr="a=1" text='"8"' ansible_ssh_user=hw

        [db]
        db-[a:c:2].example.com
        odd[1:5:2]

        [cluster:children]
        npu
        db
        [all:vars]
        ansible_port = 22
        site=one
        [npu:vars]
        ansible_user=nobody
        site=two
        [cluster:vars]
        site=three
        """,
    )
    found = {host.name: host for host in hosts.hosts}
    assert hosts.names == [
        "jump", "node01", "node02", "node03", "node04",
        "db-a.example.com", "db-c.example.com", "odd1", "odd3", "odd5",
    ]  # fmt: skip
    assert found["jump"].node == Node(name="jump", address="10.0.0.9", port=22)
    assert found["node01"].node == Node(name="node01", user="root", port=22, slots=8)
    assert found["node04"].node == Node(name="node04", user="hw", port=2222)
    assert found["node04"].variables == {"note": "two words", "expr": "a=1", "text": "8", "site": "two"}
    assert found["odd1"].variables == {"site": "three"}
    assert found["jump"].variables == {"site": "one"}
    assert hosts.groups["npu"] == ("node01", "node02", "node03", "node04")
    assert hosts.groups["cluster"] == tuple(hosts.names[1:])


def test_the_same_inventory_in_yaml() -> None:
    hosts = read(
        "ansible-yaml",
        """
        all:
          vars: {ansible_port: 22, site: one}
          hosts:
            jump:
              ansible_host: 10.0.0.9
          children:
            cluster:
              vars: {site: three}
              children:
                npu:
                  hosts:
                    node[01:02]: {slots: 8, ansible_user: root, debug: yes}
                    "no":
                  vars: {site: two}
        """,
    )
    assert hosts.names == ["jump", "node01", "node02", "no"]
    assert hosts.hosts[1] == Host(
        node=Node(name="node01", user="root", port=22, slots=8), variables={"site": "two", "debug": True}
    )
    assert hosts.groups == {"cluster": ("node01", "node02", "no"), "npu": ("node01", "node02", "no")}


SETUP = """
    defaults: {user: root, port: 2222}
    hosts:
      node[1-2]: {key: ~/.ssh/id, python: /opt/py/bin/python3, workdir: /data}
      node3: {address: 10.0.0.3, port: 22, jump: me@gate:2200}
      node4:
"""


def test_the_file_of_setup_nodes() -> None:
    hosts = read("inventory", SETUP)
    assert hosts.names == ["node1", "node2", "node3", "node4"]
    assert hosts.hosts[2].node == Node(name="node3", address="10.0.0.3", user="root", port=22)
    assert hosts.hosts[2].variables == {"ansible_ssh_common_args": "-o ProxyJump=me@gate:2200"}
    assert hosts.hosts[1].variables["ansible_python_interpreter"] == "/opt/py/bin/python3"
    assert read("inventory", FORMATS["inventory"].write(hosts)) == hosts


def test_setup_nodes_reads_what_is_written(tmp_path: Path) -> None:
    key = tmp_path / "id key"
    key.write_text("x")
    hosts = read(
        "ansible",
        f"""
        [npu]
        n[1:2] ansible_user=root ansible_port=2222 ansible_ssh_private_key_file='{key}'
        n3 ansible_host=fe80::1 ansible_ssh_common_args='-J me@gate' ansible_python_interpreter=auto rack=7
        [npu:vars]
        ansible_python_interpreter=/usr/bin/python3
        """,
    )
    path = tmp_path / "hosts.yaml"
    path.write_text(FORMATS["inventory"].write(hosts))
    first, _, third = read_settings(path)
    assert (first.node, first.key, first.python) == (hosts.hosts[0].node, key, "/usr/bin/python3")
    assert (third.node, third.jump, third.python) == (hosts.hosts[2].node, "me@gate", None)
    kept = FORMATS["inventory"].read(path.read_text(), "hosts")
    told = losses(hosts, kept, "inventory", FORMATS["inventory"].carries)
    assert [line.split(":")[0] for line in told] == [
        "the variable ansible_python_interpreter of n3",
        "the variable rack of n3",
        "the groups npu",
    ]


def test_a_group_that_is_only_named_in_yaml_may_be_defined_later() -> None:
    hosts = read("ansible-yaml", "a:\n  children:\n    b:\nb:\n  hosts:\n    n1:\n")
    assert hosts.groups == {"a": ("n1",), "b": ("n1",)}


def test_groups_in_groups_in_groups_take_no_forever() -> None:
    levels = [f"[a{n}:children]\na{n + 1}\nb{n + 1}\n[b{n}:children]\na{n + 1}\nb{n + 1}\n" for n in range(40)]
    hosts = read("ansible", "".join(levels) + "[a40]\nn1\n[b40]\nn2\n[a0:vars]\nx=0\n[a40:vars]\nx=40\n")
    assert hosts.groups["a0"] == ("n1", "n2")
    assert [host.variables["x"] for host in hosts.hosts] == [40, 0]


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("mpi", "a slots=x\n^b\n  c slots=1 max_slots=0\nd foo=1\ne slots=4 max_slots=2\nf slots=1 cpus=2\n; g\n",
         ["1:9", "2:1", "3:23", "4:3", "5:1", "6:11", "7:1"]),
        ("mpich", "a:0\nb:x\n c:\nd:1 x\n:3\ne:1 user=;id\n", ["1:3", "2:3", "3:4", "4:5", "5:1", "6:10"]),
        ("slurm", "a,,b", ["1:3"]),
        ("slurm", "a,", ["1:3"]),
        ("slurm", "a1,node[1-x],b c\n$(id)", ["1:8", "1:15", "2:1"]),
        ("slurm", "node[1-3],node2", ["1:11"]),
        ("slurm", "n[1-999999999]", ["1:1"]),
        ("ansible", "[a\nb c\nd[1:\ne[03:1]\nf='x\n[x:foo]\n[y:vars]\n 1=2\n",
         ["1:1", "2:3", "3:2", "4:2", "5:3", "6:4", "8:2", "7:1"]),
        ("ansible", "a[1:c]\nb[3:1]\nc[1:9:0]\nd[1:99999]\n[g:children]\na b\n", ["1:2", "2:2", "3:2", "4:2", "6:1"]),
        ("ansible", "[npu]\na\n[nqu:vars]\nansible_user=me\n", ["3:1"]),
        ("ansible", "a ansible_user='{{ me }}'", ["1:16"]),
        ("ansible", "a  ansible_port=99999", ["1:17"]),
        ("ansible", "a ansible_host=';id'", ["1:16"]),
        ("ansible", "a slots=8 max_slots=4", ["1:21"]),
        ("ansible", "[y:children]\nz\n", ["2:1"]),
        ("ansible", "[y:children]\nz\n[z:children]\ny\n", ["4:1"]),
        ("ansible", "n[1:3000]x[1:3000]\n", ["1:2"]),
        ("ansible-yaml", "- a\n", ["1:1"]),
        ("ansible-yaml", "all:\n  host:\n    a:\n", ["2:3"]),
        ("ansible-yaml", "all:\n  hosts: [a]\n", ["2:3"]),
        ("ansible-yaml", "all:\n  hosts:\n    a: {ansible_port: x}\n", ["3:9"]),
        ("ansible-yaml", "all:\n  hosts:\n    yes:\n", ["3:5"]),
        ("ansible-yaml", "all: [\n", ["2:1"]),
        ("inventory", "hosts:\n  a: {prot: 22}\n", ["2:7"]),
        ("inventory", "hosts:\n  a;b:\n", ["2:3"]),
        ("inventory", "hosts:\n  a: {port: 0}\n", ["2:7"]),
        ("inventory", "host:\n  a:\n", ["1:1"]),
        ("inventory", "hosts:\n  a: {jump: x;id}\n", ["2:7"]),
        ("deepspeed", "a slots=8x\nb port=22 slots=8\n", ["1:9", "2:3"]),
    ],
)  # fmt: skip
def test_every_mistake_has_its_place(name: str, text: str, where: list[str]) -> None:
    assert places(name, text) == where


def test_yaml_that_nests_without_end_is_told() -> None:
    with pytest.raises(UsageError, match="is no YAML"):
        read("ansible-yaml", "[\n" * 5000)


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("hostfile", "node1 slots=8\n", "llmctl"),
        ("hostfile", "node1\nnode2\n", "llmctl"),
        ("hostfile", OPENMPI, "mpi"),
        ("machines", INTEL, "mpich"),
        ("list", "node[01-16],gpu3", "slurm"),
        ("hosts", "[npu]\nnode1\n", "ansible"),
        ("hosts", "node1 ansible_host=10.0.0.1\n", "ansible"),
        ("hosts.yml", "all:\n", "ansible-yaml"),
        ("hosts.yaml", "defaults: {user: root}\nhosts:\n  a:\n", "inventory"),
        ("hosts", "all:\n  hosts:\n", "ansible-yaml"),
    ],
)
def test_a_format_is_told_from_its_text(file: str, text: str, name: str) -> None:
    assert guess_format(file, textwrap.dedent(text)) == name


def test_deepspeed_wants_slots() -> None:
    with pytest.raises(UsageError, match="no slots are known for b"):
        FORMATS["deepspeed"].write(read("mpi", "a slots=2\nb\n"))


@pytest.mark.engine
def test_deepspeed_itself_reads_what_is_written() -> None:
    runner = pytest.importorskip("deepspeed.launcher.runner", reason="needs torch and DeepSpeed")
    text = FORMATS["deepspeed"].write(read("mpi", OPENMPI.replace("node15", "node15 slots=7")))
    assert runner._parse_hostfile(text.splitlines()) == {"aa": 2, "bb": 3, "cc": 1, "dd": 2, "node15": 7}
