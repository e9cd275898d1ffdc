"""Host lists of other programs: read strictly, written, and what each of them cannot carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from llmctl.recipe.hostlists.ansible import Ansible
from llmctl.recipe.hostlists.ansible_yaml import AnsibleYaml
from llmctl.recipe.hostlists.deepspeed import DeepSpeed, Llmctl
from llmctl.recipe.hostlists.mpi import Mpich, OpenMpi
from llmctl.recipe.hostlists.setup_file import SetupFile
from llmctl.recipe.hostlists.slurm import Slurm
from llmctl.recipe.hostlists.values import HostList


class Format(Protocol):
    """One program's host list."""

    @property
    def carries(self) -> frozenset[str]:
        """Which of `losses.FIELDS` it can hold."""

    def read(self, text: str, source: str) -> HostList:
        """What a text says; `source` is its name in errors, each of which has line and column."""

    def write(self, hosts: HostList) -> str:
        """The text that says it again, as far as the format can."""


FORMATS: Mapping[str, Format] = {
    "deepspeed": DeepSpeed(),
    "llmctl": Llmctl(),
    "mpi": OpenMpi(),
    "mpich": Mpich(),
    "slurm": Slurm(),
    "ansible": Ansible(),
    "ansible-yaml": AnsibleYaml(),
    "inventory": SetupFile(),
}
"""What `--from` and `--to` know."""
