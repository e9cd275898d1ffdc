"""The lab keeps what it promises, as root and without."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.lab import CHECKOUT

pytestmark = pytest.mark.lab
FreshLab = Callable[..., Lab]


def need_namespaces(lab: Lab) -> None:
    if lab.site.password is None:
        pytest.skip("needs root and network namespaces")


def test_a_node_has_its_own_name_home_and_files(lab: Lab) -> None:
    one, two = lab.nodes
    assert [lab.exec(node, "hostname").stdout for node in lab.nodes] == ["node1\n", "node2\n"]
    lab.write(one, "/tmp/only-here", "1")
    lab.write(one, f"{pwd.getpwuid(os.getuid()).pw_dir}/only-here", "1")
    assert lab.exec(two, "ls /tmp/only-here ~/only-here").code != 0
    assert not Path("/tmp/only-here").exists()


def test_a_node_sees_the_interpreter_but_not_the_checkout_or_the_launcher(lab: Lab, tmp_path: Path) -> None:
    need_namespaces(lab)
    node = lab.nodes[0]
    (tmp_path / "recipe.yaml").write_text("x")
    for hidden in (CHECKOUT / "pyproject.toml", CHECKOUT / "recipes", tmp_path / "recipe.yaml", lab.home):
        assert lab.exec(node, f"ls '{hidden}'").code != 0
    assert lab.exec(node, f"{lab.python} -c 'import paramiko'").code == 0


def test_writing_on_a_node_does_not_reach_this_machine(lab: Lab) -> None:
    need_namespaces(lab)
    for path in ("/etc/lab-was-here", "/usr/local/lab-was-here", "/var/lab-was-here", "/opt/lab-was-here"):
        lab.write(lab.nodes[0], path, "1")
        assert not Path(path).exists()


def test_a_shared_folder_is_seen_by_all(fresh_lab: FreshLab, tmp_path: Path) -> None:
    lab = fresh_lab(count=2, shared=tmp_path)
    need_namespaces(lab)
    lab.write(lab.nodes[0], f"{tmp_path}/token", "here")
    assert lab.read(lab.nodes[1], f"{tmp_path}/token") == "here" == (tmp_path / "token").read_text()


def test_the_disk_of_a_node_is_small(fresh_lab: FreshLab) -> None:
    lab = fresh_lab(count=1, disk_mb=8)
    need_namespaces(lab)
    done = lab.exec(lab.nodes[0], "head -c 9000000 /dev/zero > /tmp/fill")
    assert "No space left" in done.stderr


def test_orphans_on_a_node_are_collected(fresh_lab: FreshLab) -> None:
    lab = fresh_lab(count=1)
    need_namespaces(lab)
    node = lab.nodes[0]
    lab.exec(node, "setsid sh -c 'sleep 0.1' >/dev/null 2>&1 & sleep 0.5")
    assert "defunct" not in lab.exec(node, "ps ax").stdout


def test_a_crash_ends_all_processes_of_one_node_only(fresh_lab: FreshLab) -> None:
    lab = fresh_lab(count=2)
    need_namespaces(lab)
    for node in lab.nodes:
        lab.exec(node, "setsid sleep 7531 >/dev/null 2>&1 &")
    lab.crash(lab.nodes[0])
    assert lab.exec(lab.nodes[1], "ps ax | grep -c '[s]leep 7531'").stdout.strip() == "1"
    with pytest.raises(OSError):
        lab.exec(lab.nodes[0], "true")


def test_killing_the_holder_takes_everything_down(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("sshd", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("needs root and sshd")
    argv = [sys.executable, "-m", "tests.lab", "up", "--nodes", "2"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, start_new_session=True) as holder:
        assert holder.stdout is not None
        shown = ""
        while "The password" not in shown:
            line = holder.stdout.readline()
            assert line, shown
            shown += line
        home = next(line for line in shown.splitlines() if "LLMCTL_HOME=" in line).partition("=")[2]
        folder = Path(home).parent
        assert "llmctl setup-nodes root@node1=" in shown
        assert processes_of(folder)
        holder.kill()
    deadline = time.monotonic() + 30
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(folder) == []
    shutil.rmtree(folder)


def test_an_interrupted_lab_leaves_no_folder() -> None:
    argv = [
        sys.executable,
        "-m",
        "tests.lab",
        "up",
        "--nodes",
        "1",
        "--",
        "sh",
        "-c",
        "echo $LLMCTL_HOME; kill -INT $PPID",
    ]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=False)
    if "no lab" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 130, done.stderr
    assert not Path(done.stdout.strip()).parent.exists()


def processes_of(folder: Path) -> list[str]:
    """The node processes of one lab: their command line names its folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.startswith(str(folder).encode()) for word in words):
            found.append(path.parent.name)
    return found


def test_without_root_the_nodes_can_be_set_up_too() -> None:
    """The rootless kind; as root it needs the folder that sshd wants, in a mount namespace of its own."""
    script = (
        "from tests.lab import Lab; import subprocess, sys\n"
        "with Lab.start(2, rootless=True) as lab:\n"
        "    words = [sys.executable, '-m', 'llmctl', 'setup-nodes', *lab.specs, '--accept-new', '--no-hosts']\n"
        "    code = subprocess.call(words + lab.login_options(), env=lab.env)\n"
        "    print(lab.exec(lab.nodes[1], f'{lab.python} -c \"import paramiko\" && ls {sys.argv[1]}'), flush=True)\n"
        "    print(lab.exec(lab.nodes[0], 'ssh -o BatchMode=yes node2 hostname'))\n"
        "    sys.exit(code)\n"
    )
    argv = [sys.executable, "-c", script, str(CHECKOUT)]
    if os.geteuid() == 0:
        run = 'mount -t tmpfs run /run && mkdir /run/sshd && exec "$@"'
        argv = ["unshare", "-m", "sh", "-c", run, "sh", *argv]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=False)
    if "user namespaces are not allowed" in done.stderr:
        pytest.skip("user namespaces are not allowed here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 logins proven" in done.stdout
    view, name = done.stdout.splitlines()[-2:]
    assert "code=0" in view
    assert "pyproject.toml" not in view
    assert "stdout='node2\\n'" in name


def test_a_restarted_node_has_its_files_and_none_of_its_processes(fresh_lab: FreshLab) -> None:
    lab = fresh_lab(count=2)
    need_namespaces(lab)
    one, two = lab.nodes
    lab.write(one, "/tmp/here", "1")
    lab.write(one, "/etc/here", "2")
    lab.exec(one, "setsid sleep 7531 >/dev/null 2>&1 &")
    boot = lab.read(one, "/proc/sys/kernel/random/boot_id")
    lab.restart(one)
    assert (lab.read(one, "/tmp/here"), lab.read(one, "/etc/here")) == ("1", "2")
    assert lab.exec(one, "pgrep -f 'sleep [7]531'").stdout == ""
    assert lab.read(one, "/proc/sys/kernel/random/boot_id") not in (None, boot)
    assert lab.exec(two, f"timeout 5 bash -c 'read line < /dev/tcp/{one.address}/22; echo $line'").stdout[:4] == "SSH-"


def test_a_slow_link_delays_and_a_joined_one_does_not(fresh_lab: FreshLab) -> None:
    lab = fresh_lab(count=1)
    need_namespaces(lab)
    (node,) = lab.nodes

    def seconds_of_a_greeting() -> float:
        began = time.monotonic()
        with socket.create_connection((node.address, node.port), timeout=60) as link:
            assert link.recv(4) == b"SSH-"
        return time.monotonic() - began

    lab.slow(node, delay_ms=300, loss=0.01)
    assert seconds_of_a_greeting() >= 1.2  # a handshake and an answer, there and back
    lab.join(node)
    assert seconds_of_a_greeting() < 1.2
