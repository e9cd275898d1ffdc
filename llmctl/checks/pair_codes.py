"""The findings that no row and no rule gives: about pairs of nodes, activation and collectives."""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """One such finding, in words."""

    severity: str
    source: str
    why: str
    remedy: str
    facts: tuple[str, ...]
    """What it is judged from."""


CODES: dict[str, Pair] = {
    "network.hostname.twice": Pair(
        "error",
        "`hostname`",
        "two nodes have one host name",
        "give each node its own name: hostnamectl set-hostname NAME",
        ("network.hostname",),
    ),
    "os.boot.twice": Pair(
        "info",
        "`/proc/sys/kernel/random/boot_id`",
        "two nodes run on one machine",
        "",
        ("os.boot",),
    ),
    "network.own_name.wrong": Pair(
        "error",
        "`getent ahostsv4 $(hostname)`",
        "a node's own host name is a loopback address, as in Debian's 127.0.1.1 line: gloo and DeepSpeed "
        "give it to the other nodes",
        "take the host name out of the 127.0.1.1 line of /etc/hosts; llmctl setup-nodes names it",
        ("network.own_name", "network.hostname"),
    ),
    "network.names.wrong": Pair(
        "error with pdsh, else warning",
        "`getent ahostsv4 NODE` on every node",
        "a node does not resolve another's name, or resolves it to loopback or to an address the other does not have",
        "llmctl setup-nodes NODES writes missing names into /etc/hosts; a line there that is wrong, such as 127.0.1.1, "
        "has to be taken out by hand",
        ("network.resolves", "network.addresses"),
    ),
    "network.interface.wrong": Pair(
        "error",
        "`ip -j addr`",
        "no interface that is up carries an address others can use, or `cluster.interface` is not there",
        "bring the interface up, or name the node with its address: node1=10.0.0.1",
        ("network.addresses", "network.resolves"),
    ),
    "network.subnet.differs": Pair(
        "warning",
        "`ip -j addr`",
        "the addresses in use are of different networks",
        "name the nodes with their addresses in one network",
        ("network.addresses", "network.resolves"),
    ),
    "network.mtu.differs": Pair(
        "warning",
        "`ip -j addr`",
        "the interfaces in use differ in MTU: large messages hang",
        "set one MTU on all nodes: ip link set dev NAME mtu N",
        ("network.addresses", "network.resolves"),
    ),
    "network.mtu.wrong": Pair(
        "warning",
        "`ping -M do` of the interface's own size to the first node",
        "large messages hang, small ones arrive",
        "set the MTU that the switches carry on all nodes",
        ("network.path_mtu", "network.addresses", "network.resolves"),
    ),
    "network.port.taken": Pair(
        "error",
        "binding it on the first node",
        "the port that the recipe names is in use, or none was free",
        "leave cluster.master_port out, or end what listens: ss -ltnp",
        ("network.port",),
    ),
    "network.rendezvous.wrong": Pair(
        "error",
        "a connection to the first node",
        "a node cannot reach the port that the run would use",
        "open the port between the nodes, or set cluster.master_port to one that is open",
        ("network.connect", "network.port", "network.addresses", "network.resolves"),
    ),
    "network.firewall.wrong": Pair(
        "warning",
        "connections from each node to the next one: the port of the rendezvous, 29500-29510, three ephemeral ports, "
        "with NPUs those of HCCL",
        "ports of one node that the ranks will use cannot be reached from another",
        "open these TCP ports in the node's firewall, better all above 1024 between the nodes",
        (
            "network.connect",
            "network.ports",
            "network.port",
            "network.port_range",
            "hccl.reserved",
            "network.addresses",
            "network.resolves",
        ),
    ),
    "ssh.from_first.wrong": Pair(
        "error with pdsh, else warning",
        "`ssh -o BatchMode=yes` from the first node",
        "the first node cannot log in to a node, itself included; asked for the pdsh backend and where "
        "only nodes are named",
        "llmctl setup-nodes NODES",
        ("ssh.from_first",),
    ),
    "disk.shared.told": Pair(
        "info, warning when mixed",
        "inode and time of change of the folder",
        "nodes write into one shared folder; mixed: some do, some do not",
        "share cluster.workdir on all nodes, or on none",
        ("disk.place",),
    ),
    "clock.differs": Pair(
        "warning above 1 s, error above 60 s",
        "the node's time between question and answer",
        "two clocks differ for sure, that is, beyond what both round trips leave open",
        "synchronise the clocks: chrony, ntp",
        ("clock.offset",),
    ),
    "activation.wrong": Pair(
        "error",
        "`cluster.activate`",
        "a line of `cluster.activate` fails on a node",
        "try the lines there in a shell of their own: ssh NODE bash",
        ("activation",),
    ),
    "collective.wrong": Pair(
        "error",
        "all_reduce of 1 MiB over the recipe's backend, with --collective",
        "a rank did not arrive, or the sum is wrong",
        "llmctl check names the node; look at its interface, ports and devices",
        ("collective.ranks",),
    ),
    "collective.slow": Pair(
        "warning",
        "1 MiB to and from the first node, with --collective",
        "a node takes more than five times as long as the others",
        "look at the cable, the switch port and the load of that node",
        ("collective.ranks",),
    ),
}
"""By code."""
