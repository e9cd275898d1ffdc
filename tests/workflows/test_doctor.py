"""Judging the launcher's own machine: every row, good and bad; and that reading it agrees with the machine."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmctl.workflows.doctor import doctor
from llmctl.workflows.doctor_files import count_known
from llmctl.workflows.doctor_machine import read_machine
from llmctl.workflows.doctor_rows import judge
from llmctl.workflows.doctor_values import Answer, Disk, FileState, Health, Machine, Row

GIB = 1024**3
WELL = Machine(
    version="0.1.0",
    executable="/opt/py thon/bin/python3",
    python=(3, 11, 7),
    requirements={"paramiko": "3.4"},
    packages={"paramiko": "5.1.0", "torch": None},
    ssh=Answer("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026"),
    ssh_keygen=True,
    pdsh=Answer("pdsh-2.35 (+readline+debug)\nrcmd modules: ssh,exec (default: ssh)\nmisc modules: genders"),
    agent_socket=None,
    agent=Answer(None),
    pdsh_environment={},
    environment_bytes=4000,
    argument_bytes=2097152,
    one_argument_bytes=131072,
    home=FileState(path="/h/llmctl", exists=True, mode=0o700),
    own_key=FileState(path="/h/llmctl/id_ed25519", exists=True, mode=0o600),
    own_files=(FileState(path="/h/llmctl/nodes.yaml", exists=True, mode=0o600), FileState(path="/h/llmctl/runs.json")),
    ssh_folder=FileState(path="/h/.ssh", exists=True, mode=0o700),
    ssh_keys=(FileState(path="/h/.ssh/id_rsa", exists=True, mode=0o600),),
    ssh_config="Host node1\n  User root\n",
    own_known_hosts="node1 ssh-ed25519 AAAA\n",
    user_known_hosts=None,
    inventory=2,
    runs=1,
    hostname="launcher",
    addresses=("10.0.0.5",),
    outward="10.0.0.5",
    synchronised=True,
    disks=(Disk(what="disk.runs", path="/data/runs", free=80 * GIB, inodes=10**6),),
    open_files=20000,
)

DEBIAN = "pdsh-2.34 (+readline+debug)\nrcmd modules: ssh,rsh,exec (default: rsh)\nmisc modules: genders"
SOURCE = "pdsh-2.29 (+debug)\nrcmd modules: ssh,rsh,exec (default: rsh)\nmisc modules: (none)"
NO_SSH = "pdsh-2.34 (+readline)\nrcmd modules: rsh,exec (default: rsh)\nmisc modules: (none)"


def rows(**changes: Any) -> dict[str, Row]:
    return {row.what: row for row in judge(replace(WELL, **changes))}


def test_a_good_machine_has_nothing_to_mind() -> None:
    found = rows()
    assert {row.health for row in found.values()} == {Health.GOOD}
    assert all(not row.next for row in found.values())
    assert len(found) == len(judge(WELL))


@pytest.mark.parametrize(
    ("what", "health", "words", "changes"),
    [
        ("python.packages", "bad", ["paramiko 3.3.1", "'/opt/py thon/bin/python3' -m pip install 'paramiko>=3.4'"],
         {"packages": {"paramiko": "3.3.1", "torch": None}}),
        ("python.packages", "bad", ["paramiko missing"], {"packages": {"paramiko": None}}),
        ("python.packages", "good", ["3.10.2"], {"packages": {"paramiko": "3.10.2"}}),
        ("engine", "good", ["torch 2.6.0+cpu"], {"packages": {"paramiko": "4", "torch": "2.6.0+cpu"}}),
        ("ssh", "warn", ["not installed", "openssh-client"], {"ssh": Answer(None)}),
        ("ssh", "warn", ["OpenSSH_6.7p1", "6.8"], {"ssh": Answer("OpenSSH_6.7p1, OpenSSL")}),
        ("ssh", "warn", ["Dropbear"], {"ssh": Answer("Dropbear v2022.83", code=1)}),
        ("ssh.keygen", "bad", ["setup-nodes"], {"ssh_keygen": False}),
        ("pdsh", "good", ["not installed"], {"pdsh": Answer(None)}),
        ("pdsh", "good", ["2.34", "has no -k"],
         {"pdsh": Answer(DEBIAN), "pdsh_environment": {"PDSH_RCMD_TYPE": "ssh"}}),
        ("pdsh.rcmd", "warn", ["uses rsh", "export PDSH_RCMD_TYPE=ssh"], {"pdsh": Answer(SOURCE)}),
        ("pdsh.rcmd", "good", ["ssh"], {"pdsh": Answer(DEBIAN), "pdsh_environment": {"PDSH_RCMD_TYPE": "ssh"}}),
        ("pdsh.rcmd", "warn", ["uses exec"], {"pdsh_environment": {"PDSH_RCMD_TYPE": "exec"}}),
        ("pdsh", "bad", ["pdsh-rcmd-ssh"], {"pdsh": Answer(NO_SSH)}),
        ("pdsh", "bad", ["Segmentation"], {"pdsh": Answer("Segmentation fault", code=139)}),
        ("pdsh.environment", "warn", ["replaces pdsh's own", "unset PDSH_SSH_ARGS"],
         {"pdsh_environment": {"PDSH_SSH_ARGS": "-p 22"}}),
        ("pdsh.environment", "warn", ["not verified", "unset PDSH_SSH_ARGS_APPEND"],
         {"pdsh_environment": {"PDSH_SSH_ARGS_APPEND": "-o StrictHostKeyChecking=no"}}),
        ("arguments", "warn", ["ulimit -s 8192"], {"argument_bytes": 131072}),
        ("home", "good", ["not there yet"], {"home": FileState(path="/h/llmctl")}),
        ("home", "warn", ["can read", "chmod 0700"], {"home": FileState(path="/h", exists=True, mode=0o755)}),
        ("home", "bad", ["can change"], {"home": FileState(path="/h", exists=True, mode=0o770)}),
        ("home", "bad", ["chown", "'/a b'"], {"home": FileState(path="/a b", exists=True, mode=0o700, own=False)}),
        ("key", "warn", ["setup-nodes"], {"own_key": FileState(path="/h/llmctl/id_ed25519")}),
        ("key", "bad", ["0640", "chmod 0600"], {"own_key": FileState(path="/k", exists=True, mode=0o640)}),
        ("file.known_hosts", "warn", ["0644"],
         {"own_files": (FileState(path="/h/known_hosts", exists=True, mode=0o644),)}),
        ("ssh.files", "warn", ["id_rsa has mode 0644", "chmod 0600"],
         {"ssh_keys": (FileState(path="/h/.ssh/id_rsa", exists=True, mode=0o644),)}),
        ("ssh.files", "warn", ["chmod 0700 /h/.ssh"],
         {"ssh_folder": FileState(path="/h/.ssh", exists=True, mode=0o777)}),
        ("ssh.config", "bad", ["cannot be read"], {"ssh_config_error": "/h/.ssh/config: cannot be read\n  why: x"}),
        ("ssh.config", "warn", ["Include is not followed"], {"ssh_config": "Host a\n include conf.d/*\n"}),
        ("agent", "good", ["holds no key"], {"agent_socket": "/s", "agent": Answer("The agent has no identities.", 1)}),
        ("agent", "warn", ["does not answer", "unset"], {"agent_socket": "/s", "agent": Answer("Error connecting", 2)}),
        ("agent", "warn", ["holds 6 keys"], {"agent_socket": "/s", "agent": Answer("\n".join("abcdef"))}),
        ("agent", "warn", ["no ssh-add"], {"agent_socket": "/s"}),
        ("known_hosts", "warn", ["1 key, 1 line that"], {"own_known_hosts": "node1 ssh-ed25519\nn2 ssh-rsa AAAA\n"}),
        ("known_hosts.user", "good", ["2 lines with patterns"],
         {"user_known_hosts": "@cert-authority * ssh-rsa AAAA\n*.lan ssh-rsa AAAA\n|1|a=|b= ssh-rsa AAAA\n"}),
        ("inventory", "bad", ["cannot be read", "repair it"],
         {"inventory_error": "/n: the inventory cannot be read\n  why:  x\n  next: repair it"}),
        ("hostname", "warn", ["127.0.1.1", "10.0.0.5 launcher"], {"addresses": ("127.0.1.1", "::1")}),
        ("hostname", "warn", ["nothing", "ADDRESS launcher"], {"addresses": (), "outward": None}),
        ("clock", "warn", ["nobody", "set-ntp"], {"synchronised": False}),
        ("clock", "warn", ["does not tell"], {"synchronised": None}),
        ("disk.x", "bad", ["du -xh"], {"disks": (Disk(what="disk.x", path="/w", free=10**6),)}),
        ("disk.x", "warn", ["500 MiB"], {"disks": (Disk(what="disk.x", path="/w", free=500 * 1024**2),)}),
        ("disk.x", "bad", ["12 inodes"], {"disks": (Disk(what="disk.x", path="/w", free=80 * GIB, inodes=12),)}),
        ("disk.x", "bad", ["No such"], {"disks": (Disk(what="disk.x", path="/w", error="No such device"),)}),
        ("disk.runs", "bad", ["--runs"], {"disks": (Disk(what="disk.runs", path="/w", free=GIB, writable=False),)}),
        ("open_files", "bad", ["64", "ulimit -n"], {"open_files": 64}),
        ("open_files", "warn", ["512"], {"open_files": 512}),
        ("open_files", "good", ["without limit"], {"open_files": -1}),
    ],
)  # fmt: skip
def test_each_row(what: str, health: str, words: list[str], changes: dict[str, Any]) -> None:
    found = rows(**changes)
    row = found[what]
    assert row.health == health
    for word in words:
        assert word in f"{row.found}\n{row.next}"
    assert (health == "good") or row.next
    assert [name for name, other in found.items() if other.health != "good"] in ([], [what])


def test_lines_of_known_hosts_are_told_apart() -> None:
    text = (
        "# c\n\nn1 ssh-rsa AAAA= c\n[n1]:22,n2 ssh-rsa AAAA\n@revoked n ssh-rsa A\n!n3,n? ssh-rsa A\nx\ny ssh-rsa ((\n"
    )
    assert count_known(text) == (2, 2, 2)


def test_the_machine_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "it's home"
    (home / ".ssh").mkdir(parents=True)
    (home / "llmctl").mkdir(mode=0o750)
    key = home / "llmctl" / "id_ed25519"
    key.write_text("secret")
    key.chmod(0o644)
    (home / ".ssh" / "config").write_text("Host a\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LLMCTL_HOME", str(home / "llmctl"))
    monkeypatch.setenv("WCOLL", "/x")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    machine = read_machine(tmp_path / "no" / "runs")
    assert machine.own_key == FileState(path=str(key), exists=True, mode=0o644)
    assert machine.home.mode == 0o750
    assert machine.ssh_config == "Host a\n"
    assert machine.own_known_hosts is None
    assert machine.pdsh_environment == {"WCOLL": "/x"}
    assert machine.hostname == os.uname().nodename
    assert machine.disks[0].path == str(tmp_path / "no" / "runs")
    assert machine.disks[0].free > 0
    assert not (tmp_path / "no").exists()
    getconf = subprocess.run(["getconf", "ARG_MAX"], capture_output=True, text=True, check=True).stdout
    assert machine.argument_bytes == int(getconf)
    assert "paramiko" in machine.requirements
    assert machine.packages["paramiko"]
    assert "secret" not in repr(machine)


def test_tools_that_are_missing_or_hang_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmctl.workflows.doctor_machine.TOOL_TIMEOUT", 0.2)
    for name in ("ssh", "pdsh"):
        (tmp_path / name).write_text("#!/bin/sh\nexec /bin/sleep 30\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {row.what: row for row in doctor(tmp_path)}
    assert found["pdsh"].health == "bad"
    assert "timed out" in found["pdsh"].found
    assert found["ssh.keygen"].health == "bad"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    found = {row.what: row for row in doctor(tmp_path)}
    assert found["pdsh"].health == "good"
    assert found["ssh"].health == "warn"


def test_a_broken_inventory_index_and_configuration_are_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host a\n  Port many\nHost *\n Port x\n")
    (tmp_path / "nodes.yaml").write_text("[1, 2")
    (tmp_path / "runs.json").write_text("[1]")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path))
    found = {row.what: row for row in doctor(tmp_path)}
    for what in ("inventory", "runs", "ssh.config"):
        assert found[what].health == "bad", what
        assert found[what].next
