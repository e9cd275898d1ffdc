"""A real Slurm on the node lab: the controller beside the launcher, a slurmd on every node, one shared folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.lab import Lab, LabNode

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "munged")
CONF = """\
ClusterName=lab
SlurmctldHost={host}({address})
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={socket}
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={shared}/slurm/jobcomp
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
MinJobAge=300
InactiveLimit=0
KillWait=30
StateSaveLocation={folder}/state
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=10000
SlurmdParameters=config_overrides
GresTypes=npu,gpu
"""
FILES = {"npu": ("full", "random", "urandom", "tty"), "gpu": ("null", "zero")}
"""Device files that stand for those of accelerators."""


@dataclass
class SlurmLab:
    """Slurm's side of a lab whose nodes all see `shared`, as the launcher does."""

    lab: Lab
    shared: Path
    folder: Path
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def nodes(self) -> tuple[LabNode, ...]:
        return self.lab.nodes

    @property
    def env(self) -> dict[str, str]:
        """The environment for llmctl and for Slurm's own commands."""
        return {**self.lab.env, "SLURM_CONF": str(self.shared / "slurm" / "slurm.conf")}

    def ask(self, *words: str) -> str:
        """What one of Slurm's commands prints. Raises RuntimeError when it fails."""
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def boot(self, node: LabNode) -> None:
        """Start munged and slurmd on a node, also after its restart."""
        munge, shared = self.folder / "munge", self.shared / "slurm"
        script = (
            f"mkdir -p {munge} /var/spool/slurmd /etc/slurm && chmod 711 {munge} && "
            f"ln -sf {shared}/slurm.conf /etc/slurm/slurm.conf && {_munged(munge, shared / 'munge.key')} && "
            f"SLURM_CONF={shared}/slurm.conf slurmd -N {node.name} >/var/log/slurmd.out 2>&1 </dev/null"
        )
        done = self.lab.exec(node, script)
        if not done.ok:
            raise RuntimeError(f"{node.name}: {done.stderr}{self.lab.read(node, '/var/log/slurmd.out')}")

    def await_idle(self, seconds: float = 60) -> None:
        """Wait until all nodes are idle. Raises RuntimeError when they are not within `seconds`."""
        deadline = time.monotonic() + seconds
        while set((told := self.ask("sinfo", "-h", "-N", "-o", "%t")).split()) != {"idle"}:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the nodes are not idle: {told.split()}\n{self.ask('scontrol', 'show', 'node')}")
            time.sleep(0.1)

    def close(self) -> None:
        """End the daemons of the launcher; those of the nodes end with their nodes."""
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(5)
            daemon.kill()
            daemon.wait()


def _munged(folder: Path, key: Path) -> str:
    words = {"key-file": key, "socket": f"{folder}/socket", "pid-file": f"{folder}/pid"}
    words |= {"log-file": f"{folder}/log", "seed-file": f"{folder}/seed"}
    return "munged --force " + " ".join(f"--{name}={value}" for name, value in words.items())


@contextmanager
def start_slurm(lab: Lab, shared: Path) -> Iterator[SlurmLab]:
    """Bring up Slurm on the nodes of a lab that was started with `shared`. Raises RuntimeError with the reason where
    this machine cannot carry it."""
    _assert_installed(PROGRAMS)
    if lab.site.password is None:
        raise RuntimeError("Slurm needs root and network namespaces")
    own = Path(tempfile.mkdtemp(prefix="slurm-", dir=lab.folder))
    slurm = SlurmLab(lab, shared, own)
    try:
        _configure(slurm)
        for words in (f"exec {_munged(own / 'munge', shared / 'slurm' / 'munge.key')} --foreground", "slurmctld -D -c"):
            with (own / "daemons.log").open("ab") as log:
                argv = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", f"exec {words.removeprefix('exec ')}"]
                slurm.daemons.append(
                    subprocess.Popen(argv, env=slurm.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                )
            _await(own / "munge" / "socket", own / "daemons.log")
        for node in lab.nodes:
            slurm.boot(node)
        _await_controller(slurm)
        slurm.await_idle()
        yield slurm
    finally:
        slurm.close()


def _assert_installed(programs: Sequence[str]) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    if missing:
        raise RuntimeError(f"Slurm is not installed (packages slurm-wlm and munge): no {', '.join(missing)}")


def _configure(slurm: SlurmLab) -> None:
    own, shared = slurm.folder, slurm.shared / "slurm"
    for folder in (shared, own / "munge", own / "state"):
        folder.mkdir()
    (own / "munge").chmod(0o711)
    key = shared / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    net = slurm.nodes[0].address.rpartition(".")[0]
    with socket.create_server((f"{net}.254", 0)) as free:
        port = free.getsockname()[1]
    text = CONF.format(
        host=socket.gethostname(), address=f"{net}.254", port=port,
        socket=own / "munge" / "socket", shared=slurm.shared, folder=own,
    )  # fmt: skip
    for node in slurm.nodes:
        text += f"NodeName={node.name} NodeAddr={node.address} CPUs=8 RealMemory=1000 Gres=npu:4,gpu:2 State=UNKNOWN\n"
    text += "PartitionName=lab Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4\n"
    (shared / "slurm.conf").write_text(text, encoding="utf-8")
    (shared / "gres.conf").write_text(
        "".join(f"Name={name} File=/dev/{file}\n" for name, files in FILES.items() for file in files), encoding="utf-8"
    )


def _await(path: Path, log: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"no {path.name} of munged: {log.read_text()}")
        time.sleep(0.02)


def _await_controller(slurm: SlurmLab) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            slurm.ask("scontrol", "ping")
        except RuntimeError:
            if time.monotonic() > deadline or slurm.daemons[-1].poll() is not None:
                raise RuntimeError((slurm.folder / "daemons.log").read_text()) from None
            time.sleep(0.1)
        else:
            return
