"""`setup-nodes` on real nodes: everything it promises, and everything that may go wrong there."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunLlmctl, set_up
from tests.lab import Lab, LabNode

pytestmark = pytest.mark.lab
FreshLab = Callable[..., Lab]

SNAPSHOT = (
    "cd /root && find . -path ./.pyenv -prune -o -type f -print0 | sort -z | xargs -0r sha256sum; "
    "find . -path ./.pyenv -prune -o -printf '%m %p\\n' | sort; cat /etc/hosts; stat -c '%a %U' /etc/hosts"
)


def snapshot(lab: Lab) -> list[str]:
    """Every file's content and mode below the home folder, and /etc/hosts, of all nodes."""
    return [lab.exec(node, SNAPSHOT).stdout for node in lab.nodes]


def result(run: RunLlmctl, lab: Lab, *words: str, code: int) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(run("setup-nodes", *words, "--json", env=lab.env, code=code).stdout)
    return loaded


def test_the_promised_logins_work_and_the_second_run_changes_no_byte(
    fresh_lab: FreshLab, run_llmctl: RunLlmctl
) -> None:
    lab = fresh_lab(count=3)
    first = result(run_llmctl, lab, *lab.specs, "--accept-new", *lab.login_options(), code=0)
    assert {node["trust"] for node in first["nodes"]} == {"accepted without a check"}
    pairs = [("launcher", f"node{i}") for i in (1, 2, 3)] + [("node1", f"node{i}") for i in (1, 2, 3)]
    assert [(login["from"], login["to"]) for login in first["logins"] if login["ok"]] == pairs
    node1, node2 = lab.nodes[:2]
    assert lab.exec(node1, "ssh -o BatchMode=yes node3 hostname").stdout == "node3\n"
    by_pdsh = lab.exec(node1, "PDSH_RCMD_TYPE=ssh pdsh -S -w 'node[1-3]' hostname")
    assert (by_pdsh.code, sorted(by_pdsh.stdout.splitlines())) == (0, [f"node{i}: node{i}" for i in (1, 2, 3)])
    assert lab.exec(node2, "ssh -o BatchMode=yes node3 hostname").code == 255
    assert lab.exec(node2, "getent hosts node1").stdout.split() == [node1.address, "node1"]
    before, home = snapshot(lab), {path: path.read_bytes() for path in lab.home.iterdir()}
    second = result(run_llmctl, lab, "node[1-3]", code=0)
    assert [node["changes"] for node in second["nodes"]] == [[], [], []]
    assert snapshot(lab) == before
    assert {path: path.read_bytes() for path in lab.home.iterdir()} == home
    assert oct((lab.home / "nodes.yaml").stat().st_mode)[-3:] == "600"


def test_only_public_keys_travel(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=2)
    set_up(lab)
    private = [lab.read(node, "/root/.ssh/llmctl_ed25519") for node in lab.nodes]
    assert private[0] is not None
    assert private[1] is None
    assert all(private[0] not in path.read_text() for path in lab.home.iterdir())
    own = (lab.home / "id_ed25519").read_text().splitlines()[3]
    assert all(lab.exec(node, f"grep -rF '{own}' /root/.ssh /etc/ssh").code == 1 for node in lab.nodes)
    assert lab.site.password is not None
    assert all(lab.site.password not in path.read_text() for path in lab.home.iterdir())


def test_mesh_makes_every_login(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=2)
    done = result(run_llmctl, lab, *lab.specs, "--mesh", "--accept-new", *lab.login_options(), code=0)
    assert len([login for login in done["logins"] if login["ok"]]) == 6
    assert lab.exec(lab.nodes[1], "ssh -o BatchMode=yes node1 hostname").stdout == "node1\n"


def test_remove_gives_back_every_byte_and_mode(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=2)
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ1dCBub3QgYSByZWFsIGtleSwgb25seSBpdHMgZm9y someone"
    lab.write(lab.nodes[0], "/root/.ssh/authorized_keys", f"command=\"echo 'hi'\" {other}", mode="644")  # no newline
    lab.write(lab.nodes[0], "/root/.ssh/config", "ForwardAgent no\nHost *.example\n  User someone\n", mode="600")
    lab.write(lab.nodes[0], "/etc/hosts", "127.0.0.1\tlocalhost\n10.9.8.7\tother # kept", mode="644")
    lab.exec(lab.nodes[0], "chmod 755 /root/.ssh")
    before = snapshot(lab)
    set_up(lab)
    assert lab.exec(lab.nodes[0], "stat -c %a .ssh .ssh/authorized_keys").stdout == "700\n600\n"
    during = snapshot(lab)
    dry = result(run_llmctl, lab, "node1", "node2", "--remove", "--dry-run", code=0)
    assert all(node["changes"] for node in dry["nodes"])
    assert snapshot(lab) == during
    run_llmctl("setup-nodes", "node1", "node2", "--remove", env=lab.env, code=0)
    assert snapshot(lab) == before
    run_llmctl("setup-nodes", "node1", env=lab.env, code=5)


def test_a_dry_run_shows_the_diff_and_changes_nothing(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=1)
    before = snapshot(lab)
    done = run_llmctl("setup-nodes", *lab.specs, "--accept-new", "--dry-run", *lab.login_options(), env=lab.env, code=0)
    assert f"+{lab.nodes[0].address}\tnode1\n" in done.stdout
    assert snapshot(lab) == before
    assert not lab.home.exists()


def test_check_tells_what_is_not_in_place(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=2)
    set_up(lab)
    assert result(run_llmctl, lab, "node1", "node2", "--check", code=0)["exit_code"] == 0
    lab.write(lab.nodes[1], "/etc/hosts", "127.0.0.1 localhost\n")
    told = result(run_llmctl, lab, "node1", "node2", "--check", code=3)
    assert [node["changes"] for node in told["nodes"]] == [[], ["/etc/hosts"]]
    assert lab.read(lab.nodes[1], "/etc/hosts") == "127.0.0.1 localhost\n"


def test_a_wrong_password_is_told_and_kept_secret(fresh_lab: FreshLab, run_llmctl: RunLlmctl, tmp_path: Path) -> None:
    lab = fresh_lab(count=1)
    before = snapshot(lab)
    wrong = tmp_path / "password"
    wrong.write_text("not-the-password")
    done = run_llmctl("setup-nodes", *lab.specs, "--accept-new", "--password-file", wrong, env=lab.env, code=5)
    assert "node1: the login was refused" in done.stderr
    assert "not-the-password" not in done.stdout + done.stderr
    assert snapshot(lab) == before


def test_a_key_of_the_person_serves_the_first_login(fresh_lab: FreshLab, run_llmctl: RunLlmctl, tmp_path: Path) -> None:
    lab = fresh_lab(count=1)
    key = tmp_path / "my key"
    for path, phrase in ((key, ""), (tmp_path / "locked", "secret phrase")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-f", str(path)], check=True)
    lab.write(lab.nodes[0], "/root/.ssh/authorized_keys", (tmp_path / "my key.pub").read_text(), mode="600")
    locked = run_llmctl(
        "setup-nodes", *lab.specs, "--accept-new", "--identity", tmp_path / "locked", env=lab.env, code=2
    )
    assert "a passphrase protects it" in locked.stderr
    result(run_llmctl, lab, *lab.specs, "--accept-new", "--identity", str(key), code=0)


def test_a_node_added_later_leaves_the_first_ones_logins(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=3)
    words = ["--accept-new", *lab.login_options()]
    result(run_llmctl, lab, *lab.specs[:2], *words, code=0)
    result(run_llmctl, lab, lab.specs[0], lab.specs[2], *words, code=0)
    for name in ("node2", "node3"):
        assert lab.exec(lab.nodes[0], f"ssh -o BatchMode=yes {name} hostname").stdout == f"{name}\n"
    assert lab.exec(lab.nodes[0], "getent hosts node2 node3").code == 0


def test_what_a_broken_off_write_added_can_be_removed(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=1)
    node = lab.nodes[0]
    before = snapshot(lab)
    lab.exec(node, "mount -o remount,ro /etc/hosts")
    done = run_llmctl("setup-nodes", *lab.specs, "--accept-new", *lab.login_options(), env=lab.env, code=5)
    assert "node1:/etc/hosts: writing a file failed" in done.stderr
    lab.exec(node, "mount -o remount,rw /etc/hosts")
    run_llmctl("setup-nodes", "node1", "--remove", env=lab.env, code=0)
    assert snapshot(lab) == before


def test_a_node_that_does_not_answer_leaves_the_others_done(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=2)
    lab.cut(lab.nodes[1])
    done = result(run_llmctl, lab, *lab.specs, "--accept-new", *lab.login_options(), code=5)
    assert [node["error"] is None for node in done["nodes"]] == [True, False]
    assert "node2: it cannot be reached" in done["nodes"][1]["error"]
    assert {login["to"] for login in done["logins"] if login["ok"]} == {"node1"}
    lab.join(lab.nodes[1])
    result(run_llmctl, lab, *lab.specs, "--accept-new", *lab.login_options(), code=0)
    assert lab.exec(lab.nodes[0], "ssh -o BatchMode=yes node2 hostname").stdout == "node2\n"


def test_without_a_terminal_an_unknown_key_is_refused(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=1)
    done = run_llmctl("setup-nodes", *lab.specs, *lab.login_options(), env=lab.env, code=5)
    assert "the host key is not known" in done.stderr
    assert fingerprint(lab, lab.nodes[0]) in done.stderr
    assert "password" not in (lab.exec(lab.nodes[0], "cat /var/log/sshd.log").stdout)


def fingerprint(lab: Lab, node: LabNode) -> str:
    return lab.exec(node, "ssh-keygen -lf /etc/ssh/lab_key.pub").stdout.split()[1]


def test_a_given_fingerprint_is_compared(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=1)
    right = fingerprint(lab, lab.nodes[0])
    wrong = "SHA256:" + "A" * 43
    words = [*lab.specs, *lab.login_options(), "--fingerprint"]
    refused = run_llmctl("setup-nodes", *words, f"node1={wrong}", env=lab.env, code=5)
    assert wrong in refused.stderr
    assert right in refused.stderr
    done = result(run_llmctl, lab, *words, f"node1={right}", code=0)
    assert done["nodes"][0]["trust"] == "fingerprint given"


def test_a_changed_host_key_is_refused_until_it_is_forgotten(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=2)
    set_up(lab)
    old = fingerprint(lab, lab.nodes[1])
    lab.new_host_key(lab.nodes[1])
    new = fingerprint(lab, lab.nodes[1])
    done = run_llmctl("setup-nodes", "node1", "node2", "--accept-new", env=lab.env, code=5)
    assert old in done.stderr
    assert new in done.stderr
    assert "llmctl setup-nodes node2 --forget" in done.stderr
    by_ssh = lab.exec(lab.nodes[0], "ssh -o BatchMode=yes node2 true")
    assert by_ssh.code == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in by_ssh.stderr
    by_pdsh = lab.exec(lab.nodes[0], "PDSH_RCMD_TYPE=ssh pdsh -S -w node2 true")
    assert by_pdsh.code == 255
    assert "forgotten: node2" in run_llmctl("setup-nodes", "node2", "--forget", env=lab.env, code=0).stdout
    words = ["node1", "node2", "--fingerprint", f"node2={new}"]
    assert all(login["ok"] for login in result(run_llmctl, lab, *words, code=0)["logins"])
    assert lab.exec(lab.nodes[0], "ssh -o BatchMode=yes node2 hostname").stdout == "node2\n"


def test_a_node_without_python_is_told_and_blocks(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=2)
    lab.exec(lab.nodes[1], "rm -f /usr/bin/python3 /usr/local/bin/python3")
    done = result(run_llmctl, lab, *lab.specs, "--accept-new", *lab.login_options(), code=3)
    assert [len(node["problems"]) for node in done["nodes"]] == [0, 1]
    assert "install Python 3.6 or newer" in done["nodes"][1]["problems"][0]


def test_an_own_name_on_loopback_is_told(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=1)
    lab.write(lab.nodes[0], "/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 node1\n")
    done = result(run_llmctl, lab, *lab.specs, "--accept-new", *lab.login_options(), code=0)
    assert any("/etc/hosts, line 2 maps node1 to 127.0.1.1" in note for note in done["nodes"][0]["notes"])


def test_without_root_or_sudo_the_hosts_lines_are_told(
    fresh_lab: FreshLab, run_llmctl: RunLlmctl, tmp_path: Path
) -> None:
    lab = fresh_lab(count=2)
    for node in lab.nodes:
        made = lab.exec(node, "useradd -m -s /bin/bash dev && echo 'dev:dev-password' | chpasswd; rm -f /usr/bin/sudo")
        assert made.code == 0, made.stderr
    password = tmp_path / "password"
    password.write_text("dev-password\n")
    specs = [f"dev@{node.name}={node.address}" for node in lab.nodes]
    done = result(run_llmctl, lab, *specs, "--accept-new", "--password-file", str(password), code=0)
    assert f"+{lab.nodes[1].address}\tnode2" in done["nodes"][0]["notes"][0]
    assert len([login for login in done["logins"] if login["ok"]]) == 4
    assert lab.exec(lab.nodes[0], "su dev -c 'ssh -o BatchMode=yes node2 whoami'").stdout == "dev\n"
    result(run_llmctl, lab, "node1", "node2", "--remove", code=0)
    assert lab.exec(lab.nodes[0], "ls -A /home/dev/.ssh").code == 2


def test_a_damaged_block_is_left_alone(fresh_lab: FreshLab, run_llmctl: RunLlmctl) -> None:
    lab = fresh_lab(count=1)
    text = "127.0.0.1 localhost\n# >>> llmctl managed >>>\n10.0.0.1\tnode7\n"
    lab.write(lab.nodes[0], "/etc/hosts", text)
    done = run_llmctl("setup-nodes", *lab.specs, "--accept-new", *lab.login_options(), env=lab.env, code=2)
    assert "the managed block is damaged" in done.stderr
    assert lab.read(lab.nodes[0], "/etc/hosts") == text


def test_at_a_terminal_the_fingerprint_comes_before_the_password(fresh_lab: FreshLab) -> None:
    lab = fresh_lab(count=1)
    assert lab.site.password is not None
    answers = {"own key?": "y\n", "password on the nodes:": lab.site.password + "\n"}
    shown, code = at_terminal(lab, ["setup-nodes", *lab.specs], answers)
    assert code == 0, shown
    assert shown.index(fingerprint(lab, lab.nodes[0])) < shown.index("password on the nodes:")
    assert lab.site.password not in shown


def test_at_a_terminal_a_no_ends_it_before_the_password(fresh_lab: FreshLab) -> None:
    lab = fresh_lab(count=1)
    shown, code = at_terminal(lab, ["setup-nodes", *lab.specs], {"own key?": "n\n"})
    assert code == 5, shown
    assert "password on the nodes:" not in shown


def at_terminal(lab: Lab, words: list[str], answers: dict[str, str]) -> tuple[str, int]:
    """Run llmctl at a pseudo terminal and answer its questions; gives what was shown and the exit code."""
    main, side = pty.openpty()
    argv = [sys.executable, "-m", "llmctl", *words]
    process = subprocess.Popen(argv, stdin=side, stdout=side, stderr=side, env=lab.env, start_new_session=True)
    os.close(side)
    shown = ""
    todo = dict(answers)
    try:
        while select.select([main], [], [], 60)[0]:
            try:
                data = os.read(main, 4096)
            except OSError:  # the other end is closed
                break
            shown += data.decode("utf-8", "replace")
            for question in [question for question in todo if question in shown]:
                os.write(main, todo.pop(question).encode())
        return shown, process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(main)
