"""Drift made on purpose on real nodes: each is found, with both values and the odd node, and nothing else is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmctl.checks.facts import Severity
from llmctl.workflows.check import CheckResult, check_words
from llmctl.workflows.facts_file import load_saved, save_facts
from tests.lab import Lab

pytestmark = pytest.mark.lab
FIXTURES = Path(__file__).parents[1] / "checks" / "fixtures"
ASCEND = "/usr/local/Ascend"
LATEST = f"{ASCEND}/ascend-toolkit/latest"
E, W = Severity.ERROR, Severity.WARNING

RECIPE = """\
name: drift
cluster:
  device: npu
  nodes: [node1, node2, node3]
  devices_per_node: 2
  workdir: /tmp/llmctl
  python: train-python
  activate: ['. /opt/site/env.sh']
  code: [/opt/code]
  env: {{PYTHONPATH: /opt/site, HCCL_CONNECT_TIMEOUT: 1200{env}}}
  expect: {expect}
  {cluster}
launch: {{backend: {backend}, launcher: deepspeed}}
model: {{path: /opt/model, template: default@0.9.5}}
data: {{dir: /opt/data, datasets: [rows]}}
deepspeed: {{stage: 2}}
"""

SMI = r"""#!/bin/sh
[ -n "$SMI_HANGS" ] && sleep 60
case "$*" in
info) cat /usr/local/Ascend/smi.txt ;;
"info -m") printf '\tNPU ID   Chip ID   Chip Logic ID   Chip Name\n\t0        0         0      Ascend 910B3\n' ;;
"info -t board"*) printf '\tSoftware Version : 25.0.rc1.1\n\tFirmware Version : 7.7.0.1.231\n\tCompatibility : OK\n' ;;
"info -t ecc"*) printf '\tHBM Double Bit Error Count : 0\n' ;;
*) echo "unknown option" >&2; exit 1 ;;
esac
"""
HCCN = r"""#!/bin/sh
case "$*" in
*-link*) echo "link status: UP" ;;
*-net_health*) echo "net health status: Success" ;;
*) exit 1 ;;
esac
"""
PACKAGES = {"torch": "2.6.0", "torch_npu": "2.6.0", "transformers": "4.52.0", "accelerate": "1.10.0",
            "deepspeed": "0.17.0", "peft": "0.18.0", "safetensors": "0.5.0"}  # fmt: skip
INSTALL = r"""
set -e
cd /opt && mkdir -p site data model code conda/conda-meta
for p in {packages}; do
    n=${{p%%=*}} v=${{p#*=}}; mkdir -p site/$n-$v.dist-info site/$n; echo "version = '$v'" > site/$n/core.py
    d=$(openssl dgst -sha256 -binary site/$n/core.py | openssl base64 | tr '+/' '-_' | tr -d '=')
    echo "$n/core.py,sha256=$d,$(stat -c %s site/$n/core.py)" > site/$n-$v.dist-info/RECORD
done
echo 'export CONDA_PREFIX=/opt/conda' > site/env.sh
touch conda/conda-meta/libgcc-14.2.0-h77fa898_1.json
echo '[{{"instruction": "Say yes.", "output": "Yes."}}]' > data/rows.json
head -c 20000000 /dev/zero > model/model.bin; echo '{{}}' > model/config.json
cd code; git init -q; echo 'print(1)' > train.py; git add .
GIT_COMMITTER_DATE='2026-01-01T00:00:00Z' git -c user.name=n -c user.email=e@example.org commit -qm one \
    --date '2026-01-01T00:00:00Z'
ln -sf /usr/bin/python3 /usr/local/bin/train-python
mkdir -p {ascend}/nnal/atb/latest
echo '    Ascend-cann-atb Version : 8.2.RC1.B150' > {ascend}/nnal/atb/latest/version.info
echo '# paths' > {latest}/set_env.sh
echo 60000-60015 > /proc/sys/net/ipv4/ip_local_reserved_ports
"""
TREES = "opt/site opt/data opt/model opt/code opt/conda usr/local/Ascend"
TOOLS = "train-python npu-smi hccn_tool"
FILES = " ".join([*(f"usr/local/bin/{tool}" for tool in TOOLS.split()), "root/.bashrc", "etc/hccn.conf"])
SAVE = f"touch /root/.bashrc; cp /etc/hosts /run/hosts; tar cf /run/good.tar -C / {TREES} {FILES}"
RESTORE = (
    f"cd / && rm -rf {TREES} etc/nccl.conf usr/local/bin/python3 usr/local/bin/uname; tar xf /run/good.tar; "
    "cat /run/hosts > /etc/hosts"
)
HOUR_LATE = """#!/usr/bin/python3
import sys, time
now = time.time
time.time = lambda: now() + 3600
exec(compile(sys.stdin.read(), "probe", "exec"), {"__name__": "__main__"})
"""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What is done to node2, what is found above a remark, and which words the first of it has."""

    name: str
    make: str = ""
    undo: str = ""
    found: dict[str, Severity]
    words: tuple[str, ...] = ()
    odd: tuple[str, ...] = ("node2",)
    recipe: dict[str, str] = field(default_factory=dict)
    node: str = "node2"


def replaced(path: str, old: str, new: str) -> str:
    return f"sed -i 's/{old}/{new}/' {path}"


DRIFTS = [
    Drift(
        name="driver", make=replaced(f"{ASCEND}/driver/version.info", "25.0.rc1.1", "24.1.rc2"),
        found={"driver.version.differs": E}, words=("24.1.rc2 on node2", "25.0.rc1.1 on the other 2"),
    ),
    Drift(
        name="cann", make=replaced(f"{LATEST}/x86_64-linux/ascend_toolkit_install.info", "=8.2.RC1", "=8.1.RC1"),
        found={"toolkit.version.differs": E, "kernels.version.wrong": E, "compat.cann.wrong": W},
        words=("8.1.RC1 on node2", "8.2.RC1 on the other 2"),
    ),
    Drift(
        name="firmware", make=replaced(f"{ASCEND}/firmware/version.info", "7.7.0.1.231", "7.1.0.11.220"),
        found={"firmware.version.differs": W, "firmware.flashed.wrong": W},
        words=("7.1.0.11.220 on node2", "7.7.0.1.231 on the other 2"),
    ),
    Drift(
        name="firmware that the driver does not know",
        make=replaced(f"{ASCEND}/firmware/version.info", "7.7.0.1.231", "7.9.0.1.1"),
        found={"firmware.version.differs": W, "firmware.flashed.wrong": W, "compat.firmware.wrong": W},
        words=("7.9.0.1.1 on node2",),
    ),
    Drift(
        name="kernels package", make=replaced(f"{LATEST}/opp_kernel/version.info", "8.2.RC1", "8.0.0"),
        found={"kernels.version.differs": E, "kernels.version.wrong": E}, words=("8.0.0 on node2", "8.2.RC1"),
    ),
    Drift(
        name="no kernels package", make=f"rm -r {LATEST}/opp_kernel", found={"kernels.version.unknown": E},
        words=("node2",),
    ),
    Drift(
        name="half upgrade", make=replaced(f"{LATEST}/version.cfg", "opp_kernel_running_version=.*",
                                           "opp_kernel_running_version=[7.6.0.1.220:8.1.RC1]"),
        found={"toolkit.components.wrong": E}, words=("8.1.RC1, 8.2.RC1",),
    ),
    Drift(
        name="set_env.sh", make=f"echo 'export A=1' >> {LATEST}/set_env.sh",
        found={"toolkit.activation.differs": W}, words=("on node2",),
    ),
    Drift(
        name="atb", make=replaced(f"{ASCEND}/nnal/atb/latest/version.info", "B150", "B160"),
        found={"atb.version.differs": W}, words=("8.2.RC1.B160 on node2",),
    ),
    Drift(
        name="device count", make=f"sed -i '/^| 1 /,+2d' {ASCEND}/smi.txt",
        found={"accelerator.models.differs": E, "accelerator.devices.wrong": E}, words=("on node2", "910B3"),
    ),
    Drift(
        name="kind of device", make=replaced(f"{ASCEND}/smi.txt", "910B3", "910B2"),
        found={"accelerator.models.differs": E}, words=("910B2", "910B3", "on node2"),
    ),
    Drift(
        name="ill device", make=f"sed -i '0,/| OK  /s/| OK  /| Alarm/' {ASCEND}/smi.txt",
        found={"accelerator.devices.wrong": E}, words=("0 (Alarm)",),
    ),
    Drift(
        name="busy device",
        make=f"sed -i 's/^| No running processes found in NPU 0.*/| 0 0 | 68393 | python | 56154 |/' {ASCEND}/smi.txt",
        found={"accelerator.devices.wrong": W}, words=("devices 0 are in use",),
    ),
    Drift(
        name="broken device layer", make=f"echo 'dcmi module initialize failed. ret is -8005' > {ASCEND}/smi.txt",
        found={"accelerator.devices.unknown": E, "accelerator.models.unknown": W}, words=("-8005",),
    ),
    Drift(
        name="hung tool", make="echo 'export SMI_HANGS=1' > /root/.bashrc",
        found={"accelerator.devices.unknown": E, "accelerator.models.unknown": W}, words=("no answer within 15 s",),
    ),
    Drift(
        name="tls switch", make="sed -i 's/tls_enable_\\(.\\)=0/tls_enable_\\1=1/' /etc/hccn.conf",
        found={"nic.tls.differs": E}, words=("1 on node2", "0 on the other 2"),
    ),
    Drift(
        name="tls switch of one NPU", make=replaced("/etc/hccn.conf", "tls_enable_0=0", "tls_enable_0=1"),
        found={"nic.tls.differs": E, "nic.tls.wrong": E}, words=("1, 0 on node2",),
    ),
    Drift(
        name="one address for two NPUs", make="sed -i 's/^address_1=.*/address_1=10.9.1.10/' /etc/hccn.conf",
        found={"nic.addresses.twice": E}, words=("10.9.1.10 on node1 and node2",), odd=("node1", "node2"),
    ),
    Drift(
        name="link down", make=replaced("/usr/local/bin/hccn_tool", "link status: UP", "link status: DOWN"),
        found={"nic.links.wrong": E}, words=("NPU 0, 1 is down",),
    ),
    Drift(
        name="port of HCCL in use",
        make="setsid python3 -c 'import socket, time; s = socket.create_server((\"\", 60003)); time.sleep(120)' "
        ">/dev/null 2>&1 & echo $! > /run/holder; while ! grep -q ':EA63 ' /proc/net/tcp; do sleep 0.05; done",
        undo="kill $(cat /run/holder)", found={"hccl.ports.wrong": W}, words=("60003",),
    ),
    Drift(
        name="one package", make="mv /opt/site/transformers-4.52.0.dist-info /opt/site/transformers-4.51.3.dist-info",
        found={"package.transformers.differs": E}, words=("4.51.3 on node2", "4.52.0 on the other 2"),
    ),
    Drift(
        name="missing package", make="rm -r /opt/site/peft-0.18.0.dist-info", found={"package.peft.differs": E},
        words=("none on node2",),
    ),
    Drift(
        name="missing engine package", make="rm -r /opt/site/accelerate-1.10.0.dist-info",
        found={"package.accelerate.differs": E, "python.packages.wrong": E}, words=("none on node2",),
    ),
    Drift(
        name="package installed twice", make="mkdir /opt/site/deepspeed-0.9.2.dist-info",
        found={"python.twice.wrong": W}, words=("deepspeed (0.17.0, 0.9.2)",),
    ),
    Drift(
        name="edited file in site-packages", make="echo '# patched' >> /opt/site/transformers/core.py",
        found={"python.edited.differs": E}, words=("transformers/core.py", "on node2"),
    ),
    Drift(
        name="torch_npu for another torch",
        make="mv /opt/site/torch-2.6.0.dist-info /opt/site/torch-2.7.1.dist-info",
        found={"package.torch.differs": E, "compat.torch_npu.wrong": E}, words=("2.7.1 on node2",),
    ),
    Drift(
        name="old DeepSpeed", make="mv /opt/site/deepspeed-0.17.0.dist-info /opt/site/deepspeed-0.9.2.dist-info",
        found={"package.deepspeed.differs": E, "compat.deepspeed.wrong": W}, words=("0.9.2 on node2",),
    ),
    Drift(
        name="another commit",
        make="cd /opt/code && git -c user.name=n -c user.email=e@example.org commit -q --allow-empty -m two",
        found={"code.files.differs": E}, words=("(commit)", "on node2"),
    ),
    Drift(
        name="edited code", make="echo 'print(2)' > /opt/code/train.py", found={"code.files.differs": E},
        words=("train.py", "on node2"),
    ),
    Drift(
        name="one byte of the data", make=replaced("/opt/data/rows.json", "Yes", "yes"),
        found={"data.files.differs": E}, words=("rows.json", "on node2"),
    ),
    Drift(
        name="size of the weights", make="head -c 1 /dev/zero >> /opt/model/model.bin",
        found={"model.files.differs": E}, words=("model.bin size:20000001", "on node2"),
    ),
    Drift(
        name="no model", make="rm -r /opt/model", found={"model.files.missing": E}, words=("node2", "model.path"),
    ),
    Drift(
        name="another python path", make="mv /usr/local/bin/train-python /usr/bin/train-python",
        undo="rm /usr/bin/train-python", found={"python.executable.differs": E},
        words=("/usr/bin/train-python on node2", "/usr/local/bin/train-python on the other 2"),
    ),
    Drift(
        name="conda package",
        make="cd /opt/conda/conda-meta && mv libgcc-14.2.0-h77fa898_1.json libgcc-13.1.0-h0_0.json",
        found={"conda.packages.differs": W}, words=("libgcc 13.1.0 h0_0 on node2",),
    ),
    Drift(
        name="activation that fails", make="rm /opt/site/env.sh",
        found={"activation.wrong": E}, words=("node2", "env.sh"),
    ),
    Drift(
        name="variable that is set on one node", make="echo 'export NCCL_DEBUG=INFO' >> /opt/site/env.sh",
        found={"environment.variables.differs": W}, words=("NCCL_DEBUG INFO on node2",),
    ),
    Drift(
        name="variable that cannot be set", make="echo 'readonly HCCL_CONNECT_TIMEOUT=600' >> /opt/site/env.sh",
        found={"environment.effective.wrong": E, "environment.variables.differs": W},
        words=("HCCL_CONNECT_TIMEOUT is 600, the recipe wants 1200",),
    ),
    Drift(
        name="misspelt variable", recipe={"env": ", ASCEND_RT_VISIBLE_DEVICE: '0,1'"},
        found={"environment.names.wrong": W}, words=("is ASCEND_RT_VISIBLE_DEVICES meant?",),
        odd=("node1", "node2", "node3"),
    ),
    Drift(
        name="nccl.conf", make="echo NCCL_IB_DISABLE=1 > /etc/nccl.conf",
        found={"environment.files.differs": W}, words=("/etc/nccl.conf", "on node2"),
    ),
    Drift(
        name="host name on 127.0.1.1", make="{ echo 127.0.1.1 node2; cat /run/hosts; } > /etc/hosts",
        found={"network.own_name.wrong": E, "network.names.wrong": W}, words=("node2 is 127.0.1.1",),
    ),
    Drift(
        name="one host name twice", make="hostname node1", undo="hostname node2",
        found={"network.hostname.twice": E}, words=("node[1-2] have the same host name node1",), odd=("node1", "node2"),
    ),
    Drift(
        name="clock an hour off",
        make=f"cat > /usr/local/bin/python3 <<'E'\n{HOUR_LATE}E\nchmod 755 /usr/local/bin/python3",
        found={"clock.differs": E}, words=("node2", "s apart"),
    ),
    Drift(
        name="shared memory", make="mount -o remount,size=64m /dev/shm", undo="mount -o remount,size=2g /dev/shm",
        found={"host.shm.wrong": E}, words=("64 MiB of shared memory",),
    ),
    Drift(
        name="open files", make="echo 'ulimit -n 1024' > /root/.bashrc", found={"host.limits.wrong": W},
        words=("only 1024 open files",),
    ),
    Drift(
        name="full disk",
        make="mkdir -p /tmp/llmctl; head -c $(df -PB1 /tmp | awk 'NR == 2 {printf \"%d\", $4 * 0.92}') /dev/zero "
        "> /tmp/llmctl/fill",
        undo="rm /tmp/llmctl/fill", found={"disk.workdir.wrong": W, "disk.tmp.wrong": W}, words=("less than a tenth",),
    ),
    Drift(
        name="read-only working folder",
        make="mkdir -p /tmp/llmctl; mount --bind /tmp/llmctl /tmp/llmctl; mount -o remount,ro,bind /tmp/llmctl",
        undo="umount /tmp/llmctl", found={"disk.workdir.writable.wrong": E},
        words=("node2: no file can be written in /tmp/llmctl", "Read-only file system"),
    ),
    Drift(
        name="no free port", recipe={"cluster": "master_port: 22"}, found={"network.port.taken": E}, words=("node1",),
        odd=("node1",),
    ),
    Drift(
        name="missing pdsh", recipe={"backend": "pdsh"}, node="node1", make="mv /usr/bin/pdsh /usr/bin/pdsh.away",
        undo="mv /usr/bin/pdsh.away /usr/bin/pdsh", found={"pdsh.missing": E}, words=("pdsh cannot be run",),
        odd=("node1",),
    ),
    Drift(
        name="architecture",
        make="printf '#!/bin/sh\\necho aarch64\\n' > /usr/local/bin/uname; chmod 755 /usr/local/bin/uname",
        found={"os.arch.differs": E}, words=("aarch64 on node2", "x86_64 on the other 2"),
    ),
    Drift(
        name="packet size", make="ip link set eth0 mtu 1400", undo="ip link set eth0 mtu 1500",
        found={"network.mtu.differs": W}, words=("1500 on node[1,3]", "1400 on node2"), odd=(),
    ),
    Drift(
        name="processes of an earlier run",
        make="LLMCTL_RUN_ID=old-run-1 setsid sleep 120 >/dev/null 2>&1 & echo $! > /run/holder",
        undo="kill $(cat /run/holder)", found={"runs.leftover.wrong": W}, words=("1 of old-run-1",),
    ),
    Drift(
        name="HCCL's ports behind a firewall", make="ip rule add ipproto tcp sport 60000-60015 blackhole",
        undo="ip rule del ipproto tcp sport 60000-60015 blackhole", found={"network.firewall.wrong": W},
        words=("node1 to node2: 60000-60015 (timed out)",),
    ),
    Drift(
        name="rendezvous ports behind a firewall", node="node3", odd=("node3",),
        make="ip rule add ipproto tcp sport 29500-29510 blackhole", recipe={"cluster": "master_port: 29400"},
        undo="ip rule del ipproto tcp sport 29500-29510 blackhole", found={"network.firewall.wrong": W},
        words=("node2 to node3: 29500-29510 (timed out)",),
    ),
    Drift(
        name="HCCL's ports given away", make="echo > /proc/sys/net/ipv4/ip_local_reserved_ports",
        undo="echo 60000-60015 > /proc/sys/net/ipv4/ip_local_reserved_ports", found={"hccl.reserved.wrong": W},
        words=("60000-60015", "32768-60999"),
    ),
    Drift(
        name="a pin that no node keeps", recipe={"expect": "{cann: 8.3.RC1}"}, found={"toolkit.version.differs": E},
        words=("8.2.RC1 on node[1-3], expected is 8.3.RC1",), odd=("node1", "node2", "node3"),
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def equal(three: Lab) -> Lab:
    """Three equal nodes with a vendor's tree, an environment, data, weights and code."""
    for number, node in enumerate(three.nodes, start=1):
        files = {
            f"{ASCEND}/driver/version.info": "driver_version.info",
            f"{ASCEND}/firmware/version.info": "firmware_version.info",
            f"{LATEST}/x86_64-linux/ascend_toolkit_install.info": "ascend_toolkit_install.info",
            f"{LATEST}/version.cfg": "version.cfg",
            f"{LATEST}/opp_kernel/version.info": "opp_kernel_version.info",
            f"{ASCEND}/smi.txt": "npu-smi_two.txt",
        }
        for path, name in files.items():
            three.write(node, path, (FIXTURES / name).read_text(encoding="utf-8"))
        three.write(node, "/usr/local/bin/npu-smi", SMI, mode="755")
        three.write(node, "/usr/local/bin/hccn_tool", HCCN, mode="755")
        nics = "".join(f"address_{i}=10.9.{number}.1{i}\ntls_enable_{i}=0\n" for i in range(2))
        three.write(node, "/etc/hccn.conf", nics)
        words = " ".join(f"{name}={version}" for name, version in PACKAGES.items())
        done = three.exec(node, INSTALL.format(packages=words, ascend=ASCEND, latest=LATEST) + SAVE)
        assert done.ok, done.stderr
    return three


@pytest.fixture
def recipe(equal: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write the recipe with changes; gives its path."""
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, equal.env[key])

    def write(**changes: str) -> str:
        path = tmp_path / "drift.yaml"
        path.write_text(RECIPE.format(**{"env": "", "expect": "{}", "cluster": "", "backend": "ssh"} | changes))
        return str(path)

    return write


def above_remarks(result: CheckResult) -> dict[str, Severity]:
    found: dict[str, Severity] = {}
    for finding in result.findings:
        if finding.severity is not Severity.INFO:
            found.setdefault(finding.code, finding.severity)
    return found


def test_equal_nodes_give_remarks_only(recipe: Any) -> None:
    for backend in ("ssh", "pdsh"):
        result = check_words([recipe(backend=backend)])
        assert not result.errors
        assert above_remarks(result) == {}, [finding.title for finding in result.findings]


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.name)
def test_a_drift_is_found_with_its_values_and_its_node(equal: Lab, recipe: Any, drift: Drift) -> None:
    (node,) = [each for each in equal.nodes if each.name == drift.node]
    try:
        if drift.make:
            done = equal.exec(node, drift.make)
            assert done.ok, done.stderr
        result = check_words([recipe(**drift.recipe)])
    finally:
        equal.exec(node, "; ".join([drift.undo or "true", RESTORE]))
    assert not result.errors
    assert above_remarks(result) == drift.found, [finding.title for finding in result.findings]
    first = next(finding for finding in result.findings if finding.code == next(iter(drift.found)))
    assert all(word in first.title for word in drift.words), first.title
    assert first.nodes == drift.odd
    assert first.remedy or first.severity is not Severity.ERROR


def test_the_odd_node_is_named_against_a_baseline_by_two(equal: Lab, recipe: Any, tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    before = check_words([recipe()])
    save_facts(good, before.question, before.nodes, before.facts)
    try:
        for node in equal.nodes[:2]:
            equal.exec(node, replaced(f"{ASCEND}/driver/version.info", "25.0.rc1.1", "24.1.rc2"))
        (finding,) = [f for f in check_words([recipe()], baseline=good).findings if f.code == "driver.version.differs"]
    finally:
        for node in equal.nodes[:2]:
            equal.exec(node, RESTORE)
    assert finding.nodes == ("node1", "node2")
    assert "24.1.rc2 on node[1-2], expected is 25.0.rc1.1" in finding.title


def test_disk_and_memory_are_held_against_the_size_of_the_model(equal: Lab, recipe: Any, tmp_path: Path) -> None:
    """Seven thousand million parameters, saved every ten of a hundred steps, on disks of half a gigabyte."""
    config = '{"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 11008, "vocab_size": 64000}'
    saves = "{precision: fp16, max_steps: 100, save_steps: 10, save_total_limit: 2}"
    try:
        for node in equal.nodes:
            equal.write(node, "/opt/model/config.json", config)
        path = Path(recipe())
        path.write_text(path.read_text() + f"train: {saves}\n")
        result = check_words([str(path)])
    finally:
        for node in equal.nodes:
            equal.exec(node, RESTORE)
    titles = {f.nodes: f.title for f in result.findings if f.code == "disk.workdir.wrong"}
    assert "182.0 GB needed: staging" in titles["node1",]
    assert "3 checkpoints of 56.0 GB, final weights 14.0 GB" in titles["node1",]
    assert "3 checkpoints of 42.0 GB" in titles["node2", "node3"]
    assert above_remarks(result).keys() <= {"disk.workdir.wrong", "host.memory.wrong"}
    saved = tmp_path / "saved.json"
    save_facts(saved, result.question, result.nodes, result.facts)
    assert check_words([str(saved)]).findings == result.findings


def test_saved_facts_are_judged_again_without_the_nodes(equal: Lab, recipe: Any, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    equal.exec(equal.nodes[1], replaced(f"{ASCEND}/driver/version.info", "25.0.rc1.1", "24.1.rc2"))
    try:
        before = check_words([recipe()])
    finally:
        equal.exec(equal.nodes[1], RESTORE)
    save_facts(saved, before.question, before.nodes, before.facts)
    assert load_saved(saved).facts == before.facts
    again = check_words([str(saved)])
    assert again.findings == before.findings
    assert [f.code for f in check_words([str(saved)], only=["toolkit"]).findings] == []


def test_an_edit_that_hides_its_time_needs_a_deep_look(equal: Lab, recipe: Any) -> None:
    core = "/opt/site/accelerate/core.py"
    equal.exec(
        equal.nodes[1], f"touch -r {core} /run/before; sed -i 's/1.10.0/1.10.1/' {core}; touch -r /run/before {core}"
    )
    try:
        assert above_remarks(check_words([recipe()])) == {}
        assert above_remarks(check_words([recipe()], deep=True)) == {"python.edited_deep.differs": E}
    finally:
        equal.exec(equal.nodes[1], RESTORE)


def test_a_byte_of_large_weights_needs_a_deep_look(equal: Lab, recipe: Any) -> None:
    equal.exec(equal.nodes[1], "printf x | dd of=/opt/model/model.bin bs=1 seek=1000 conv=notrunc 2>/dev/null")
    try:
        assert above_remarks(check_words([recipe()])) == {}
        assert above_remarks(check_words([recipe()], deep=True)) == {"model.files.differs": E}
    finally:
        equal.exec(equal.nodes[1], RESTORE)


def test_only_what_is_asked_for_is_read(recipe: Any) -> None:
    result = check_words([recipe()], only=["driver", "disk.t*"])
    names = {fact.name for fact in result.facts}
    assert names == {"accelerator.kinds", "activation", "driver.version", "driver.declared", "disk.tmp"}
