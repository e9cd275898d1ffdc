"""Checking real nodes: vendor trees that disagree, nodes that are away or have no Python, environments that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmctl.checks.facts import Finding, Severity
from llmctl.errors import NodeError, UsageError
from llmctl.workflows.check import CheckResult, check_words
from llmctl.workflows.facts_file import load_saved, save_facts
from tests.lab import Lab, LabNode

pytestmark = pytest.mark.lab
FIXTURES = Path(__file__).parents[1] / "checks" / "fixtures"
ASCEND = "/usr/local/Ascend"
RECIPE = """\
name: tried
cluster:
  device: {device}
  nodes: [{nodes}]
  devices_per_node: 2
  workdir: /tmp/llmctl
  python: '{python}'
  {cluster}
launch: {{backend: {backend}, launcher: deepspeed}}
model: {{init: {{model_type: llama}}, template: default@0.9.5}}
data: {{dir: data, datasets: [rows]}}
"""
INFO = '{"rows": {"file_name": "rows.json"}}'
ROWS = '[{"instruction": "Say yes.", "input": "", "output": "Yes."}]'

Check = Callable[..., CheckResult]


@pytest.fixture
def check(three: Lab, monkeypatch: pytest.MonkeyPatch) -> Check:
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, three.env[key])

    return lambda *words, **options: check_words(words, **options)


@pytest.fixture
def ascend(three: Lab) -> Iterator[Callable[..., None]]:
    """Give a node a driver, a toolkit and an npu-smi; taken away at the end."""

    def install(node: LabNode, *, driver: str = "25.0.rc1.1", cann: str = "8.2.RC1", smi: str = "npu-smi_two") -> None:
        latest = f"{ASCEND}/ascend-toolkit/latest"
        files = {
            f"{ASCEND}/driver/version.info": fixture("driver_version.info").replace("25.0.rc1.1", driver),
            f"{ASCEND}/firmware/version.info": fixture("firmware_version.info"),
            f"{latest}/x86_64-linux/ascend_toolkit_install.info": fixture("ascend_toolkit_install.info").replace(
                "=8.2.RC1", f"={cann}"
            ),
            f"{latest}/version.cfg": fixture("version.cfg").replace(":8.2.RC1", f":{cann}"),
            f"{latest}/opp_kernel/version.info": fixture("opp_kernel_version.info").replace("8.2.RC1", cann),
        }
        for path, text in files.items():
            three.write(node, path, text)
        table = fixture(f"{smi}.txt") if smi else "dcmi module initialize failed. ret is -8005\n"
        code = 0 if smi else 1
        three.write(node, "/usr/local/bin/npu-smi", f"#!/bin/sh\ncat <<'E'\n{table}E\nexit {code}\n", mode="755")

    yield install
    for node in three.nodes:
        three.exec(node, f"rm -rf {ASCEND} /usr/local/bin/npu-smi /etc/ascend_install.info /opt/npu")


@pytest.fixture
def recipe(three: Lab, tmp_path: Path) -> Callable[..., str]:
    """Write a recipe for the first `count` nodes; gives its path."""

    def write(count: int = 2, *, device: str = "cpu", backend: str = "ssh", cluster: str = "", python: str = "") -> str:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data/dataset_info.json").write_text(INFO)
        (tmp_path / "data/rows.json").write_text(ROWS)
        names = ", ".join(node.name for node in three.nodes[:count])
        text = RECIPE.format(
            device=device, backend=backend, nodes=names, cluster=cluster, python=python or three.python
        )
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def fixture(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def finding(result: CheckResult, code: str) -> Finding:
    found = [each for each in result.findings if each.code == code]
    assert len(found) == 1, (code, result.findings)
    return found[0]


def value(result: CheckResult, name: str, node: str) -> object:
    (fact,) = [fact for fact in result.facts if (fact.name, fact.node) == (name, node)]
    return fact.value if fact.error is None else ValueError(fact.error)


def test_equal_nodes_agree(three: Lab, check: Check, ascend) -> None:
    for node in three.nodes:
        ascend(node)
    result = check("node[1-3]")
    assert not result.blocked, result.findings
    assert not result.errors
    assert value(result, "driver.version", "node3") == "25.0.rc1.1"
    assert value(result, "firmware.version", "node1") == "7.7.0.1.231"
    assert value(result, "toolkit.version", "node2") == "8.2.RC1"
    assert value(result, "kernels.version", "node2") == "8.2.RC1"
    assert value(result, "accelerator.models", "node2") == ["910B3 64 GiB"] * 2
    assert value(result, "ssh.from_first", "node1") == {"node1": None, "node2": None, "node3": None}
    assert value(result, "network.connect", "node3") == {"node1": None}
    clock = value(result, "clock.offset", "node2")
    assert isinstance(clock, dict)
    assert abs(clock["offset"]) <= clock["error"] + 0.05


def test_of_three_the_odd_one_is_named(three: Lab, check: Check, ascend) -> None:
    for node, driver in zip(three.nodes, ["25.0.rc1.1", "24.1.rc2", "25.0.rc1.1"], strict=True):
        ascend(node, driver=driver)
    result = check("node[1-3]")
    odd = finding(result, "driver.version.differs")
    assert (odd.nodes, odd.severity) == (("node2",), Severity.ERROR)
    assert result.blocked


def test_of_two_nobody_is_odd(three: Lab, check: Check, ascend) -> None:
    for node, cann in zip(three.nodes[:2], ["8.2.RC1", "8.1.RC1"], strict=True):
        ascend(node, cann=cann)
    odd = finding(check("node[1-2]"), "toolkit.version.differs")
    assert odd.nodes == ()
    assert odd.values == {"node1": "8.2.RC1", "node2": "8.1.RC1"}


def test_a_node_without_the_others_driver_is_asked_for_it_all_the_same(three: Lab, check: Check, ascend) -> None:
    ascend(three.nodes[0])
    result = check("node[1-2]")
    assert finding(result, "driver.version.unknown").nodes == ("node2",)
    assert finding(result, "accelerator.devices.unknown").nodes == ("node2",)


def test_a_taken_rendezvous_port_blocks(check: Check, recipe) -> None:
    assert finding(check(recipe(cluster="master_port: 22")), "network.port.taken").nodes == ("node1",)


def test_what_the_recipe_expects_decides(three: Lab, check: Check, ascend, recipe) -> None:
    for node, cann in zip(three.nodes[:2], ["8.2.RC1", "8.1.RC1"], strict=True):
        ascend(node, cann=cann)
    odd = finding(check(recipe(device="npu", cluster="expect: {cann: 8.1.RC1}")), "toolkit.version.differs")
    assert odd.nodes == ("node1",)


def test_a_pin_that_names_nothing_is_a_mistake_of_the_recipe(check: Check, recipe) -> None:
    with pytest.raises(UsageError, match="no_such_thing"):
        check(recipe(cluster="expect: {no_such_thing: '1'}"))


def test_saved_facts_are_a_baseline(three: Lab, check: Check, ascend, tmp_path: Path) -> None:
    ascend(three.nodes[0])
    good = tmp_path / "good node.json"
    result = check("node1")
    save_facts(good, result.question, result.nodes, result.facts)
    assert load_saved(good).facts == result.facts
    assert load_saved(good).question == result.question
    for node in three.nodes[:2]:
        ascend(node, driver="24.1.rc2")
    odd = finding(check("node[1-2]", baseline=good), "driver.version.differs")
    assert odd.nodes == ("node1", "node2")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99, "facts": []}', '{"schema": 1, "facts": [{"a": 1}]}'])
def test_a_baseline_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        load_saved(path)


def test_a_broken_device_layer_blocks_a_run_and_the_versions_are_read_all_the_same(
    three: Lab, check: Check, ascend, recipe
) -> None:
    ascend(three.nodes[0])
    ascend(three.nodes[1], smi="")
    result = check(recipe(device="npu"))
    broken = finding(result, "accelerator.devices.unknown")
    assert (broken.severity, broken.nodes) == (Severity.ERROR, ("node2",))
    assert value(result, "driver.version", "node2") == "25.0.rc1.1"


def test_ill_and_busy_devices(three: Lab, check: Check, ascend) -> None:
    ascend(three.nodes[0], smi="npu-smi_busy_and_ill")
    wrong = finding(check("node1"), "accelerator.devices.wrong")
    assert wrong.severity is Severity.ERROR
    assert "1 (Warning)" in wrong.title


def test_a_driver_at_the_place_that_its_install_pointer_names(three: Lab, check: Check, ascend) -> None:
    ascend(three.nodes[0])
    three.exec(three.nodes[0], f"mkdir -p /opt/npu && mv {ASCEND}/driver /opt/npu/driver")
    three.write(three.nodes[0], "/etc/ascend_install.info", "UserName=root\nDriver_Install_Path_Param=/opt/npu\n")
    assert value(check("node1"), "driver.version", "node1") == "25.0.rc1.1"


def test_the_toolkit_that_the_activation_names_is_the_one_that_counts(three: Lab, check: Check, ascend, recipe) -> None:
    for node in three.nodes[:2]:
        ascend(node)
        info = fixture("ascend_toolkit_install.info").replace("=8.2.RC1", "=8.5.0")
        three.write(node, "/opt/npu/my cann/aarch64-linux/ascend_toolkit_install.info", info)
    result = check(recipe(device="npu", cluster="activate: [\"export ASCEND_HOME_PATH='/opt/npu/my cann'\"]"))
    assert value(result, "toolkit.version", "node2") == "8.5.0"
    without = finding(result, "kernels.version.unknown")
    assert (without.nodes, without.severity) == (("node1", "node2"), Severity.ERROR)
    assert "/opt/npu/my cann has no opp_kernel" in without.title


def test_gpus_are_counted_against_the_run_and_the_other_nodes(three: Lab, check: Check, recipe) -> None:
    table = fixture("nvidia-smi_query.csv").splitlines()
    tool = "/usr/local/bin/nvidia-smi"
    try:
        for node, lines in zip(three.nodes[:2], [table[:2], table[:3]], strict=True):
            three.write(node, tool, "#!/bin/sh\ncat <<'E'\n" + "\n".join(lines) + "\nE\n", mode="755")
        result = check(recipe(device="cuda"))
    finally:
        for node in three.nodes:
            three.exec(node, f"rm -f {tool}")
    assert finding(result, "accelerator.models.differs").nodes == ()
    wrong = [each for each in result.findings if each.code == "accelerator.devices.wrong"]
    assert {each.nodes[0]: each.severity for each in wrong} == {"node1": Severity.ERROR, "node2": Severity.WARNING}
    assert "has 1 of the 2 devices that the run wants" in wrong[0].title


@pytest.mark.parametrize("text", ["Version='; echo foo\n", "Version=$(touch /tmp/was-here)\n", "Version=版本 1\n"])
def test_hostile_versions_are_only_text(three: Lab, check: Check, ascend, text: str) -> None:
    ascend(three.nodes[0])
    three.write(three.nodes[0], f"{ASCEND}/driver/version.info", text)
    assert value(check("node1"), "driver.version", "node1") == text.strip().partition("=")[2]
    assert three.read(three.nodes[0], "/tmp/was-here") is None


def test_a_file_of_rubbish_is_unknown(three: Lab, check: Check, ascend) -> None:
    for node in three.nodes[:2]:
        ascend(node)
        three.write(node, f"{ASCEND}/driver/version.info", "rubbish\n")
    unknown = finding(check("node[1-2]"), "driver.version.unknown")
    assert unknown.nodes == ("node1", "node2")


def test_an_unreachable_node_is_told_and_the_others_are_checked(three: Lab, check: Check) -> None:
    result = check("node1", "node2", f"gone={three.nodes[2].address}:9")
    assert set(result.errors) == {"gone"}
    assert isinstance(result.errors["gone"], NodeError)
    assert value(result, "network.connect", "node2") == {"node1": None}


def test_when_nobody_is_reached_pins_are_not_called_mistakes(three: Lab, check: Check, recipe) -> None:
    path = Path(recipe(device="npu", cluster="expect: {cann: 8.2.RC1}"))
    path.write_text(path.read_text().replace("[node1, node2]", f"['gone={three.nodes[0].address}:9']"))
    result = check(str(path))
    assert set(result.errors) == {"gone"}
    assert result.facts == ()


def test_a_node_without_python_is_told_and_the_others_are_checked(three: Lab, check: Check) -> None:
    node = three.nodes[1]
    three.exec(node, "for f in /usr/bin/python*; do mv $f $f.away; done")
    try:
        result = check("node[1-2]")
    finally:
        three.exec(node, "for f in /usr/bin/python*.away; do mv $f ${f%.away}; done")
    assert set(result.errors) == {"node2"}
    assert result.errors["node2"].exit_code == 5
    assert "Python" in str(result.errors["node2"])
    assert value(result, "os.arch", "node1")


def test_names_that_resolve_to_loopback(three: Lab, check: Check) -> None:
    node = three.nodes[0]
    before = three.read(node, "/etc/hosts") or ""
    three.write(node, "/etc/hosts", "127.0.1.1 node1\n" + before)
    try:
        wrong = finding(check("node[1-2]"), "network.names.wrong")
    finally:
        three.write(node, "/etc/hosts", before)
    assert "node1: takes node1 for 127.0.1.1" in wrong.title


def test_a_failing_activation_blocks_and_names_its_words(check: Check, recipe) -> None:
    result = check(recipe(cluster="activate: ['echo no such environment >&2; false']"))
    wrong = [each for each in result.findings if each.code == "activation.wrong"]
    assert [each.nodes for each in wrong] == [("node1",), ("node2",)]
    assert "no such environment" in str(wrong[0].values)


def test_what_the_run_needs_of_the_nodes(three: Lab, check: Check, recipe) -> None:
    path = Path(recipe())
    path.write_text(path.read_text().replace("init: {model_type: llama}", "path: 'model weight'"))
    three.write(three.nodes[0], "/tmp/llmctl/model weight/config.json", "{}")
    missing = finding(check(str(path)), "model.files.missing")
    assert (missing.nodes, missing.severity) == (("node2",), Severity.ERROR)
    three.write(three.nodes[1], "/tmp/llmctl/model weight/config.json", "[]")
    assert finding(check(str(path)), "model.files.differs").severity is Severity.ERROR


def test_too_little_disk_for_what_is_staged(three: Lab, check: Check, recipe) -> None:
    node = three.nodes[1]
    three.exec(node, "mkdir -p /tmp/llmctl && dd if=/dev/zero of=/tmp/llmctl/fill bs=1M count=4000")
    try:
        wrong = finding(check(recipe()), "disk.workdir.wrong")
    finally:
        three.exec(node, "rm -f /tmp/llmctl/fill")
    assert wrong.nodes == ("node2",)


def test_pdsh_carries_the_same_check(check: Check) -> None:
    straight, through = check("node[1-2]"), check("node[1-2]", via_pdsh=True)
    assert not through.errors
    assert {fact.name for fact in through.facts} == {fact.name for fact in straight.facts}
    told = [[each.code for each in result.findings if each.severity != "info"] for result in (through, straight)]
    assert told[0] == told[1]


def test_pdsh_tells_who_is_away(three: Lab, check: Check) -> None:
    result = check("node1", f"gone={three.nodes[2].address}:9", via_pdsh=True)
    assert set(result.errors) == {"gone"}
    assert value(result, "os.arch", "node1")
