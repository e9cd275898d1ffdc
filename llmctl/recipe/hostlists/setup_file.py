"""The file of `setup-nodes --inventory`: hosts with their own user, port, key, jump host, Python and workdir."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmctl.errors import ManyErrors
from llmctl.recipe.hostlists.inventory import ADDRESS, PORT, PROXY_JUMP, SSH_ARGS, USER, Given, host_from
from llmctl.recipe.hostlists.lines import Mistake, Word
from llmctl.recipe.hostlists.values import Host, HostList
from llmctl.recipe.hostlists.yaml_text import dump, entries, load, plain
from llmctl.recipe.hosts import parse_nodes

JUMP = "jump"
NAMES = {
    "address": ADDRESS,
    "user": USER,
    "port": PORT,
    "key": "ansible_ssh_private_key_file",
    "python": "ansible_python_interpreter",
    "workdir": "llmctl_workdir",
    "password_file": "llmctl_password_file",
}
"""Key of the file -> Ansible's name for it, or one that Ansible passes over."""


class SetupFile:
    """YAML. Of other variables those have a place that `NAMES` tells, and ProxyJump in ansible_ssh_common_args."""

    carries = frozenset({"address", "port", "user", "order"})

    def read(self, text: str, source: str) -> HostList:
        """Raises ManyErrors or UsageError with line and column of the first mistake."""
        document = load(text, source)
        try:
            shared: dict[str, Given] = {}
            hosts: list[Host] = []
            for key, word, block in sorted(entries(document, Word("", 1, 1), "the file"), key=lambda entry: entry[0]):
                if key == "defaults":
                    shared = _given(word, block, key)
                elif key == "hosts":
                    for words, place, own in entries(block, word, key):
                        hosts += _hosts(words, place, shared | _given(place, own, words))
                else:
                    raise word.mistake(f"unknown key {key!r}", "there are defaults and hosts")
        except Mistake as mistake:
            raise ManyErrors([mistake.error(source)], where=source) from None
        return HostList(hosts=tuple(hosts))

    def write(self, hosts: HostList) -> str:
        """A block a host."""
        return dump({"hosts": {host.name: _block(host) for host in hosts.hosts}})


def _given(word: Word, block: Any, what: str) -> dict[str, Given]:
    found = {}
    for key, place, value in entries(block, word, what):
        if key == JUMP:
            if not PROXY_JUMP.fullmatch(f"-J {value}"):
                raise place.mistake(f"{value!r} is no jump host", "the form is [user@]name[:port]")
            found[SSH_ARGS] = Given(f"-o ProxyJump={value}", place)
        elif key in NAMES:
            found[NAMES[key]] = Given(plain(value), place)
        else:
            raise place.mistake(f"unknown key {key!r}", f"there are {', '.join([*NAMES, JUMP])}")
    return found


def _hosts(words: str, word: Word, given: Mapping[str, Given]) -> list[Host]:
    try:
        nodes = parse_nodes([words])
    except ManyErrors as errors:
        first = errors.errors[0]
        raise word.mistake(first.what, first.hint) from None
    return [host_from(word, node.name, given) for node in nodes]


def _block(host: Host) -> dict[str, Any] | None:
    node = host.node
    known = {ADDRESS: node.address, USER: node.user, PORT: node.port} | dict(host.variables)
    block = {key: known[name] for key, name in NAMES.items() if _fits(key, known.get(name))}
    proxy = PROXY_JUMP.fullmatch(str(known.get(SSH_ARGS, "")))
    return block | ({JUMP: proxy[1]} if proxy else {}) or None


def _fits(key: str, value: Any) -> bool:
    """Whether setup-nodes takes the value: paths on a node are absolute."""
    if key in ("python", "workdir"):
        return isinstance(value, str) and value.startswith("/")
    return value is not None
