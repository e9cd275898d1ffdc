"""What every node is asked, whatever its devices: system, account, space, memory, limits, clock, leftovers."""

from __future__ import annotations

from typing import Any

from llmctl.checks import ports
from llmctl.checks.estimate import GIB, in_gb
from llmctl.checks.facts import Severity
from llmctl.checks.parsers import host
from llmctl.checks.parsers.text import number, text
from llmctl.checks.rows import Complaint, Row, Wanted, or_none
from llmctl.quoting import sh_quote

MIB = 1024**2


LOCKED_KB = 1024**2
"""1 GiB: what an adapter registers is less on no machine that was seen to work."""


def _shared_memory(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    size = value["size"]
    if size < 128 * MIB:
        return Severity.ERROR, f"{size / MIB:.0f} MiB of shared memory, the collectives need at least 128"
    return (Severity.WARNING, f"{size / MIB:.0f} MiB of shared memory, less than 1 GiB") if size < GIB else None


def _limits(value: Any, _node: str, wanted: Wanted) -> Complaint:
    files, locked = value["open_files"], value["locked_kb"]
    active = any(state.startswith("ACTIVE") for state in (wanted.facts.get("rdma.ports") or {}).values())
    if locked is not None and locked < LOCKED_KB and active and wanted.facts.get("user.id") != 0:
        return Severity.ERROR, f"only {locked} kB of locked memory in an SSH session, RDMA needs it unlimited"
    if files is not None and files < 4096:
        return Severity.WARNING, f"only {files} open files in an SSH session"
    return None


def _disk(value: Any, node: str, wanted: Wanted) -> Complaint:
    free, size, need = value["free"], value["size"], wanted.needs.get(node)
    whole = wanted.disk + (need.disk if need else 0)
    if free < whole:
        parts = [f"staging {in_gb(wanted.disk)}"] * bool(wanted.disk)
        if need and need.checkpoints:
            plural = "s" if need.checkpoints > 1 else ""
            parts.append(f"{need.checkpoints} checkpoint{plural} of {in_gb(need.checkpoint)}")
        if need and need.weights:
            parts.append(f"final weights {in_gb(need.weights)}")
        return Severity.ERROR, f"{in_gb(free)} free, {in_gb(whole)} needed: {', '.join(parts)}"
    if value.get("inodes") and value["inodes_free"] < 1000:
        return Severity.ERROR, f"only {value['inodes_free']} files can still be made there"
    if size and free < size / 10:
        return Severity.WARNING, f"{free / GIB:.1f} GiB free, less than a tenth of the disk"
    return None


def _written(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    error = value["error"]
    return (Severity.ERROR, f"no file can be written in {value['folder']}: {error}") if error else None


def _room(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    free, size = value["free"], value["size"]
    if free < ROOM:
        return Severity.WARNING, f"{in_gb(free)} free, {in_gb(ROOM)} needed"
    if size and free < size / 10:
        return Severity.WARNING, f"{in_gb(free)} free, less than a tenth of the disk"
    return None


def _memory(value: Any, node: str, wanted: Wanted) -> Complaint:
    free = min(value["available"], value.get("limit", value["available"]) - value.get("used", 0))
    slots, need = max(1, wanted.slots.get(node, 1)), wanted.needs.get(node)
    whole = need.memory if need else slots * GIB
    if free >= whole:
        return None
    swap = f" and {in_gb(value['swap'])} of swap" if value["swap"] else ""
    processes = f"{slots} process{'' if slots == 1 else 'es'}"
    return Severity.WARNING, f"{in_gb(free)} of memory free{swap}, {in_gb(whole)} needed for {processes}"


def _cores(value: Any, node: str, wanted: Wanted) -> Complaint:
    slots = wanted.slots.get(node, 0)
    return (Severity.WARNING, f"has {value} cores for {slots} processes") if value < slots else None


def _pdsh(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    return None if value["ssh"] else (Severity.ERROR, f"pdsh {value['version']} cannot use ssh")


def _synchronised(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    return (Severity.INFO, "no time service keeps its clock") if value is False else None


def _leftover(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    told = ", ".join(f"{count} of {run}" for run, count in value.items())
    return (Severity.WARNING, f"other runs have processes there, alive or left over: {told}") if value else None


def _rdma(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    down = [port for port, state in value.items() if not state.startswith("ACTIVE")]
    return (Severity.INFO, f"RDMA ports are not active: {', '.join(down)}") if down else None


def _startups(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    if value == "none":
        return None
    few = int(value["maxstartups"].split(":")[0]) < 10 or int(value["maxsessions"]) < 10
    told = f"sshd takes {value['maxstartups']} logins and {value['maxsessions']} sessions at once"
    return (Severity.INFO, f"{told}, fewer than it does when nothing is set") if few else None


_TUNING = (
    "echo numa $(ls -d /sys/devices/system/node/node[0-9]* 2>/dev/null | wc -l); "
    "echo thp $(cat /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null); "
    "echo hugepages $(cat /proc/sys/vm/nr_hugepages 2>/dev/null); "
    "echo governor $(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null)"
)
ROOM = 256 * MIB
"""What compiled operators, sockets and caches of a run take at most as a rule; nothing there grows with the model."""
_RUNS = "grep -hazs -m1 '^LLMCTL_RUN_ID=.' /proc/[0-9]*/environ | tr '\\0' '\\n'; true"
"""One process for all: a busy node has thousands, and a fork for each would take seconds."""
_CONTAINER = (
    "ls -a / 2>/dev/null | grep -F .dockerenv; ls /run/.containerenv 2>/dev/null; "
    "tr '\\0' '\\n' < /proc/1/environ 2>/dev/null | grep ^container=; cat /proc/1/cgroup 2>/dev/null; "
    "echo \"$APPTAINER_NAME$SINGULARITY_NAME\" | sed 's/.\\+/apptainer/'; true"
)
_MEMORY = (
    "cat /proc/meminfo; cd /sys/fs/cgroup; "
    "l=$(cat memory.max memory/memory.limit_in_bytes 2>/dev/null | grep -m1 '^[0-9]') && echo limit $l; "
    "u=$(cat memory.current memory/memory.usage_in_bytes 2>/dev/null | grep -m1 '^[0-9]') && echo used $u; "
    "grep -shE '^(total_)?inactive_file ' memory.stat memory/memory.stat | tail -1; true"
)
"""What a control group uses counts its page cache, which is given back; `inactive_file` is that."""


_WRITE = """
import errno, json, os, sys
folder, error = sys.argv[1], None
try:
    place = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(place, b"llmctl")
    os.fsync(place)
except OSError as failed:
    unnamed = failed.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
    error = failed.strerror if unnamed else None if os.access(folder, os.W_OK | os.X_OK) else "Permission denied"
print(json.dumps({"folder": folder, "error": error}))
"""
"""A file without a name: it leaves nothing, whenever it is broken off, and the folder's times, by which `disk.shared`
is told, as they are. File systems that have none (NFS) say whether they would let a file be made."""


def host_rows(workdir: str | None, *, pdsh: bool) -> list[Row]:
    """`workdir`: where the run will write; `pdsh`: the first node will start the others."""
    folder = _nearest(workdir or "/tmp")  # noqa: S108 - only its free space is read
    rows = [
        Row(
            name="os.arch", run="uname -m", parse=text, source="`uname -m`", why="programs do not start",
            remedy="nodes of one run need one architecture",
        ),
        Row(
            name="os.release", run="cat /etc/os-release", parse=host.os_release, severity=Severity.INFO,
            source="`/etc/os-release`", why="worth knowing when nodes behave differently",
        ),
        Row(
            name="os.kernel", run="uname -r", parse=text, severity=Severity.INFO, source="`uname -r`",
            why="worth knowing when nodes behave differently",
        ),
        Row(
            name="os.glibc", run="getconf GNU_LIBC_VERSION", parse=host.glibc, severity=Severity.WARNING,
            source="`getconf GNU_LIBC_VERSION`", why="wheels built for a newer glibc do not load",
            remedy="use one release of the system on all nodes",
        ),
        Row(
            name="os.container", run=_CONTAINER, parse=host.container, severity=Severity.WARNING,
            source="`/.dockerenv`, `/run/.containerenv`, `/proc/1/cgroup`",
            why="one node runs in a container, another on its host: other paths, limits and driver libraries",
            remedy="run inside the container on all nodes, or on none",
        ),
        Row(
            name="os.boot", run="cat /proc/sys/kernel/random/boot_id", parse=host.boot_id, mode="told",
            severity=Severity.INFO, source="`/proc/sys/kernel/random/boot_id`",
            why="two nodes with one id are one machine; another id than before means a restart",
        ),
        Row(
            name="user.name", run="id -un", parse=text, severity=Severity.WARNING, source="`id -un`",
            why="files and keys belong to another account", remedy="use one account: cluster.user",
        ),
        Row(
            name="user.id", run="id -u", parse=number, severity=Severity.WARNING, source="`id -u`",
            why="on a shared disk files cannot be written", remedy="give the account the same number on all nodes",
        ),
        Row(
            name="user.home", run='echo "$HOME"', parse=text, severity=Severity.WARNING, source="`$HOME`",
            why="paths below ~ differ", remedy="name absolute paths that are the same on all nodes",
        ),
        Row(
            name="network.hostname", run="hostname", parse=text, mode="told", severity=Severity.INFO,
            source="`hostname`", why="for `network.hostname.twice`",
        ),
        Row(
            name="network.own_name", run='getent ahostsv4 "$(hostname)" || true', parse=host.resolved, mode="told",
            severity=Severity.INFO, source="`getent ahostsv4 $(hostname)`", why="for `network.own_name.wrong`",
        ),
        Row(
            name="network.addresses", run="ip -j addr", parse=host.addresses, mode="told", source="`ip -j addr`",
            severity=Severity.INFO, why="for the choice of addresses and interfaces",
        ),
        Row(
            name="network.port_range", run=ports.READ, parse=ports.ephemeral, mode="told", severity=Severity.INFO,
            source="`ip_local_port_range`, `ip_local_reserved_ports`", why="for `network.firewall.wrong`",
        ),
        Row(
            name="host.shm", run="df -PB1 /dev/shm", parse=host.free_space, mode="ok", judge=_shared_memory,
            source="`df /dev/shm`", why="Bus error, or no shared memory segment for NCCL",
            remedy="containers: start with --shm-size=16g; hosts: mount -o remount,size=16G /dev/shm",
        ),
        Row(
            name="host.limits", run="ulimit -l; ulimit -n", parse=host.limits, mode="ok", judge=_limits,
            also=("rdma.ports", "user.id"),
            source="`ulimit -l`, `ulimit -n` in the SSH session",
            why="too many open files; ibv_reg_mr cannot allocate memory",
            remedy="raise nofile and memlock in /etc/security/limits.conf, then log in again",
        ),
        Row(
            name="host.memory", mode="ok", judge=_memory, parse=host.memory, severity=Severity.WARNING,
            run=_MEMORY, source="`MemAvailable`, limit and use of the control group, swap; against an estimate",
            why="the kernel ends a rank while it loads the model",
            remedy="end what uses the memory, lower cluster.devices_per_node, or use deepspeed.stage: 3",
        ),
        Row(
            name="host.cores", run="env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc", parse=number, judge=_cores,
            severity=Severity.WARNING, grade=lambda _: Severity.INFO, source="`nproc`",
            why="data loading and CPU optimizers are slow", remedy="lower cluster.devices_per_node",
        ),
        Row(
            name="host.tuning", run=_TUNING, parse=host.tuning, severity=Severity.INFO,
            source="NUMA nodes, transparent huge pages, huge pages, governor below `/sys`",
            why="nodes are not equally fast",
        ),
        Row(
            name="disk.workdir", run=f"df -PB1 {folder}; df -Pi {folder}", parse=host.free_space, mode="ok",
            judge=_disk, source="`df` of `cluster.workdir`, or of its nearest folder that exists; against an estimate",
            why="staging or a checkpoint fails",
            remedy="free space, lower train.save_total_limit, or choose another cluster.workdir",
        ),
        *([_writable(folder)] if workdir else []),
        Row(
            name="disk.place", run=f"stat -c '%i %.9Z' {folder} && stat -f -c %T {folder}", parse=host.place,
            mode="told", severity=Severity.INFO, source="`stat`: inode and time of change",
            why="for `disk.shared`: whether nodes write into one folder",
        ),
        Row(
            name="disk.tmp", run='df -PB1 "${TMPDIR:-/tmp}"', parse=host.free_space, mode="ok", judge=_room,
            severity=Severity.WARNING, source="`df $TMPDIR`", why="caches and sockets of the run lie in it",
            remedy="free space there, or set TMPDIR in cluster.env",
        ),
        Row(
            name="disk.cache", run='df -PB1 "$HOME"', parse=host.free_space, mode="ok", judge=_room,
            severity=Severity.WARNING, source="`df $HOME`", why="compiled operators and caches lie in it",
            remedy="free space there, or set XDG_CACHE_HOME in cluster.env",
        ),
        Row(
            name="clock.service", parse=or_none(host.synchronised), mode="ok", severity=Severity.INFO,
            run="timedatectl show -p NTPSynchronized 2>/dev/null || echo none", judge=_synchronised,
            source="`timedatectl`", why="clocks drift apart, times in logs cannot be compared",
            remedy="start chrony or systemd-timesyncd",
        ),
        Row(
            name="rdma.ports",
            run="cd /sys/class/infiniband 2>/dev/null && grep -s . */ports/*/state */ports/*/rate; true",
            parse=host.infiniband, severity=Severity.WARNING, judge=_rdma,
            source="`/sys/class/infiniband/*/ports/*/{state,rate}`",
            why="one slow or dead adapter slows down every collective", remedy="look at cable and switch: ibstat",
        ),
        Row(
            name="runs.leftover", run=_RUNS, parse=host.runs, mode="ok", judge=_leftover, severity=Severity.WARNING,
            source="`LLMCTL_RUN_ID` in the environment of processes",
            why="a run that goes on, or what is left of one, uses devices, memory or ports",
            remedy="llmctl nodes clean NODES --dry-run tells what of yours is left over; what lives may be another "
            "user's; your own: llmctl ps; llmctl cancel RUN",
        ),
        Row(
            name="ssh.server", run="sshd -T 2>/dev/null || /usr/sbin/sshd -T 2>/dev/null || echo none", mode="ok",
            parse=or_none(host.sshd), judge=_startups, severity=Severity.INFO, source="`sshd -T`, as root",
            why="many logins at once are refused", remedy="raise MaxStartups and MaxSessions in sshd_config",
        ),
    ]  # fmt: skip
    if pdsh:
        rows.append(
            Row(name="pdsh", run="pdsh -V 2>&1", parse=host.pdsh, mode="ok", judge=_pdsh, first_only=True,
                source="`pdsh -V` on the first node, backend pdsh only", must="pdsh cannot be run",
                why="DeepSpeed cannot start the other nodes",
                remedy="install pdsh with its ssh module on the first node, or use launch.backend: ssh")
        )  # fmt: skip
    return rows


def _writable(folder: str) -> Row:
    return Row(
        name="disk.workdir.writable", run=f'"$LLMCTL_PYTHON" -c {sh_quote(_WRITE)} {folder}', parse=host.written,
        mode="ok", judge=_written, source="a file without a name, written in `cluster.workdir` or in its nearest "
        "folder that exists; only with a recipe", why="staging fails, when other nodes have their files already",
        remedy="see there: ssh NODE 'findmnt -T DIR; ls -ld DIR'; mount it for writing, give it to the login, or "
        "choose another place: --set cluster.workdir=DIR",
    )  # fmt: skip


def _nearest(path: str) -> str:
    return f'"$(p={sh_quote(path)}; while [ ! -e "$p" ]; do p=$(dirname "$p"); done; echo "$p")"'
