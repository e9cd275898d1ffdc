"""The probe as a node runs it: over standard input, with a request in its last line."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from llmctl.checks.probing import answer, program
from llmctl.resources import onnode_file


def probe(**asked: Any) -> dict[str, Any]:
    request = {"activation": None, "timeout": 10, "commands": {}, "ports": [], **asked}
    text = program(onnode_file("probe.py").read_text(encoding="utf-8"), request)
    done = subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True, timeout=60, check=True)
    told = answer(done.stdout)
    assert told is not None, done.stdout + done.stderr
    return told


def command(run: str, *, env: bool = False) -> dict[str, Any]:
    return {"run": run, "env": env}


def test_each_command_has_its_own_code_and_streams() -> None:
    told = probe(commands={"good": command("echo out; echo err >&2"), "bad": command("echo why >&2; exit 3")})
    assert told["commands"]["good"] == {"code": 0, "out": "out\n", "err": "err\n"}
    assert told["commands"]["bad"] == {"code": 3, "out": "", "err": "why\n"}
    assert told["begun"] <= told["ended"]


def test_many_hanging_commands_cost_no_more_than_the_budget() -> None:
    hang = {f"hangs {i}": command(f"sleep 300; : {i}") for i in range(40)}
    started = time.monotonic()
    told = probe(timeout=3, budget=6, commands={"first": command("echo yes"), **hang, "last": command("echo no")})
    assert time.monotonic() - started < 20
    assert told["commands"]["first"]["out"] == "yes\n"
    assert {told["commands"][name]["code"] for name in hang} == {124}
    assert "other commands hang" in told["commands"]["last"]["err"]


def test_a_command_may_take_longer_than_the_others() -> None:
    told = probe(timeout=0.2, commands={"long": command("sleep 1; echo yes") | {"timeout": 30}})
    assert told["commands"]["long"]["out"] == "yes\n"


def test_hostile_text_comes_back_as_it_was() -> None:
    text = "LLMCTL-PROBE-END 节点 'one' \"two\" $(x) `y` %h\n\n; echo foo"
    told = probe(commands={"it's; odd": command("cat <<'E'\n" + text + "\nE")})
    assert told["commands"]["it's; odd"]["out"] == text + "\n"


def test_bytes_that_are_no_text_do_not_break_the_answer() -> None:
    assert "�" in probe(commands={"raw": command("printf '\\377\\376x'")})["commands"]["raw"]["out"]


def test_a_hanging_command_is_killed_with_its_children_and_the_others_are_told(tmp_path) -> None:
    pid = tmp_path / "pid"
    told = probe(timeout=5, commands={
        "hangs": command(f"sleep 300 & echo $! > '{pid}'; wait"), "good": command("echo yes"),
    })  # fmt: skip
    assert told["commands"]["hangs"]["code"] == 124
    assert told["commands"]["good"]["out"] == "yes\n"
    child = int(pid.read_text())
    deadline = time.monotonic() + 20
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_when_the_asker_goes_away_its_commands_end_with_all_their_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    commands = {"reads on": command(f"sleep 300 & echo $! > '{pid}.new'; mv '{pid}.new' '{pid}'; wait")}
    text = program(
        onnode_file("probe.py").read_text(encoding="utf-8"),
        {"activation": None, "timeout": 300, "commands": commands, "ports": []},
    )
    child = subprocess.Popen([sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(text)
    child.stdin.close()
    deadline = time.monotonic() + 60
    while not pid.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.stdout.close()
    assert child.wait(60) == 1
    while alive(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_only_what_asks_for_it_gets_the_activated_environment() -> None:
    told = probe(
        activation="export PLACE='a b;c'\n",
        commands={"in": command('echo "$PLACE"', env=True), "out": command('echo "[$PLACE]"')},
    )
    assert told["commands"]["in"]["out"] == "a b;c\n"
    assert told["commands"]["out"]["out"] == "[]\n"
    assert told["activation_error"] is None


def test_a_failing_activation_is_told_and_the_other_commands_run() -> None:
    told = probe(
        activation="echo no such env >&2; exit 4\n",
        commands={"in": command("echo in", env=True), "out": command("echo out")},
    )
    assert "no such env" in told["activation_error"]
    assert told["commands"]["in"]["code"] != 0
    assert told["commands"]["out"]["out"] == "out\n"


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken, socket.socket() as other:
        taken.bind(("", 0))
        taken.listen()
        other.bind(("", 0))
        free = other.getsockname()[1]
        other.close()
        busy = taken.getsockname()[1]
        assert probe(ports=[busy, free])["port"] == free
        assert probe(ports=[busy])["port"] is None


def test_a_listener_is_reached_and_a_closed_port_is_told() -> None:
    with socket.socket() as trial:
        trial.bind(("", 0))
        port = trial.getsockname()[1]
    with socket.socket() as taken, socket.socket() as trial:
        for each in (taken, trial):
            each.bind(("", 0))
        taken.listen()
        busy, other = taken.getsockname()[1], trial.getsockname()[1]
        trial.close()
        told, found = met(port, busy, other)
    assert told["connect"] == {"n": None}
    assert told["tried"] == {"n": {str(busy): None, str(other): None, "1": "Connection refused"}}
    assert found["listen"] == {"came": 1, "error": None, "held": [other]}
    with socket.socket() as again:  # nothing lingers there
        again.bind(("", other))
    assert "refused" in probe(connect=[there(port, 0.5)])["connect"]["n"]


def test_a_port_that_another_check_holds_for_a_moment_is_waited_for() -> None:
    with socket.socket() as held:
        held.bind(("", 0))
        held.listen()
        port = held.getsockname()[1]
        threading.Timer(1, held.close).start()
        assert probe(listen={"port": port, "peers": 0, "seconds": 20})["listen"]["error"] is None
    with socket.socket() as kept:
        kept.bind(("", port))
        kept.listen()
        assert "in use" in probe(listen={"port": port, "peers": 0, "seconds": 0.2})["listen"]["error"]


def there(port: int, seconds: float, *tried: int) -> dict[str, Any]:
    return {"peer": "n", "name": "127.0.0.1", "port": port, "seconds": seconds, "try": list(tried)}


def met(port: int, busy: int, other: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the caller and the listener tell; `busy` belongs to somebody else."""
    found: dict[str, Any] = {}
    listener = threading.Thread(
        target=lambda: found.update(probe(listen={"port": port, "peers": 1, "seconds": 20, "hold": [busy, other]})),
        daemon=True,
    )
    listener.start()
    told = probe(connect=[there(port, 20, busy, other, 1)])
    listener.join(30)
    return told, found


def test_names_are_resolved_and_unknown_ones_have_no_address() -> None:
    told = probe(resolve=["localhost", "no-such-name.invalid", "é" * 300])["resolve"]
    assert told["localhost"][0].startswith("127.")
    assert told["no-such-name.invalid"] == []
    assert told["é" * 300] == []


def test_a_command_finds_the_interpreter_that_runs_the_probe() -> None:
    told = probe(commands={"which": command('echo "$LLMCTL_PYTHON"')})
    assert told["commands"]["which"]["out"].strip() == sys.executable


def test_a_command_that_cannot_be_run_costs_only_itself() -> None:
    odd: Any = {"run": None, "env": False}
    told = probe(commands={"odd": odd, "good": command("echo yes")})["commands"]
    assert told["odd"]["code"] == 126
    assert "TypeError" in told["odd"]["err"]
    assert told["good"]["out"] == "yes\n"


def test_too_much_output_is_told_and_never_cut() -> None:
    told = probe(commands={"much": command("head -c 9000000 /dev/zero"), "many": command("seq 200000")})["commands"]
    assert told["much"] == {"code": 1, "out": "", "err": "its output is larger than 8388608 bytes"}
    assert told["many"]["out"].endswith("\n200000\n")


def test_tools_speak_english_and_the_runs_own_commands_its_language() -> None:
    told = probe(
        activation="export LC_ALL=zh_CN.UTF-8\n", shell="sh",
        commands={"tool": command('echo "$LC_ALL"'), "own": command('echo "$LC_ALL"', env=True)},
    )["commands"]  # fmt: skip
    assert (told["tool"]["out"], told["own"]["out"]) == ("C\n", "zh_CN.UTF-8\n")
