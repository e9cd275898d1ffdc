"""Real outputs of tools and real version files, where that folder is there: each is parsed to its facts, and what is
damaged to facts or to a named unknown."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmctl.checks.parsers import amd, ascend, cambricon, host, nvidia, python, sophgo
from llmctl.checks.parsers.text import key_values
from llmctl.checks.probing import facts as as_facts
from llmctl.checks.rows import Row

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "env"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the folder of real tool outputs is not there")

Parser = Callable[[str], Any]


def chips(parse: Callable[[str], list[dict[str, Any]]]) -> Parser:
    """Number, model, how many are ill, how many are in use, memory."""

    def told(out: str) -> tuple[int, str, int, int, int | None]:
        found = parse(out)
        (model,) = {device["model"] for device in found}
        ill, busy = sum(device["health"] != "OK" for device in found), sum(device["busy"] for device in found)
        return len(found), model, ill, busy, found[0]["memory_mb"]

    return told


def part(parse: Parser, *keys: str) -> Parser:
    return lambda out: tuple(parse(out)[key] for key in keys)


def commands(out: str) -> dict[str, str]:
    """A transcript of several commands: command -> its output, once for all devices."""
    found: dict[str, str] = {}
    name = ""
    for line in out.splitlines():
        match = re.match(r"(?:/usr/local/\S*/)?(npu-smi|hccn_tool|cat)\s+(.*)$", line)
        if match:
            name = re.sub(r"-i \d+ ", "", f"{match[1]} {match[2]}".strip())
        elif name:
            found[name] = found.get(name, "") + line + "\n"
    return found


def of_command(name: str, parse: Parser) -> Parser:
    return lambda out: parse(commands(out)[name])


MANY = 8
E_GATEWAYS = ["11.12.165.1"] * MANY
CASES: list[tuple[str, Parser, Any]] = [
    ("ascend/npu-smi_info_23.0.rc3.3_910B3_8busy.txt", chips(ascend.npu_smi), (8, "910B3", 0, 8, 65536)),
    ("ascend/npu-smi_info_24.1.0_910B_8idle.txt", chips(ascend.npu_smi), (8, "910B", 0, 0, 32768)),
    ("ascend/npu-smi_info_24.1.rc2.1_910B2_8idle.txt", chips(ascend.npu_smi), (8, "910B2", 0, 0, 65536)),
    ("ascend/npu-smi_info_24.1.rc3.3_910C_8x2chip.txt", chips(ascend.npu_smi), (16, "Ascend910", 0, 8, 65536)),
    ("ascend/npu-smi_info_25.2.2_910B4-1_2.txt", chips(ascend.npu_smi), (2, "910B4-1", 0, 2, 65536)),
    ("ascend/npu-smi_info_25.6.rc1.b218_950DT.txt", chips(ascend.npu_smi), (3, "Ascend950DT", 1, 0, 98304)),
    ("ascend/npu-smi_info_26.0.rc1_910C_wide.txt", chips(ascend.npu_smi), (4, "Ascend910", 0, 2, 65536)),
    ("ascend/npu-smi_info_dcmi_failed.txt", chips(ascend.npu_smi), ValueError("-8005")),
    ("ascend/driver_version.info_24.1.rc1_no_package_version", ascend.driver_version, "24.1.rc1"),
    ("ascend/driver_version.info_24.1.rc2.2", ascend.driver_version, "24.1.rc2.2"),
    ("ascend/driver_version.info_25.0.rc1.1", ascend.driver_version, "25.0.rc1.1"),
    (
        "ascend/driver_version.info_25.3.rc1",
        ascend.driver,
        {"version": "25.3.rc1", "inner": "V100R001C23SPC002B212", "firmware": "[7.0.0,8.9.9]"},
    ),
    ("ascend/firmware_version.info_7.1.0.11.220", ascend.firmware, "7.1.0.11.220"),
    ("ascend/firmware_version.info_7.7.0.1.231", ascend.firmware, "7.7.0.1.231"),
    ("ascend/ascend_toolkit_install.info_8.0.0", ascend.toolkit, "8.0.0"),
    ("ascend/ascend_toolkit_install.info_8.0.RC3", ascend.toolkit, "8.0.RC3"),
    ("ascend/ascend_toolkit_install.info_8.2.RC1", ascend.toolkit, "8.2.RC1"),
    ("ascend/ascend_toolkit_install.info_8.5.0_newlayout", ascend.toolkit, "8.5.0"),
    (
        "ascend/ascend_toolkit_install.info_8.0.0",
        ascend.toolkit_drivers,
        {"own": "V100R001C20", "ranges": [[f"V100R001C{n}"] * 2 for n in (15, 17, 18, 19, 20)]},
    ),
    ("ascend/opp_kernel_version.info_8.2.RC1", ascend.package_release, "8.2.RC1"),
    ("ascend/opp_version.info_8.5.0_head", ascend.package_release, "8.5.0"),
    ("ascend/toolkit_version.info_8.2.RC1", ascend.package_release, "8.2.RC1"),
    ("ascend/version.cfg_8.0.RC2", lambda out: set(ascend.components(out).values()), {"8.0.RC2"}),
    ("ascend/nnal_atb_version.info_8.2.RC1", ascend.atb, "8.2.RC1.B150"),
    ("ascend/etc_ascend_install.info", ascend.install_pointer, {"driver": "/usr/local/Ascend", "kind": "full"}),
    (
        "ascend/etc_hccn.conf_8npu_head",
        lambda out: ascend.hccn_conf(out)["0"],
        {"address": "127.0.0.45", "netmask": "255.255.0.0", "gateway": "127.0.0.1", "tls": "0"},
    ),
    ("ascend/upgrade-tool_version.txt", ascend.upgrade_tool, {"0 nve": "7.1.0.7.220", "0 uefi": "7.1.0.7.220"}),
    ("ascend/hccl_EI0006_excerpt.txt", ascend.hccl_error, "EI0006"),
    ("ascend/hccn_tool_gateway_g_8.txt", ascend.hccn_gateways, E_GATEWAYS),
    ("ascend/hccn_tool_ip_g_8.txt", ascend.hccn_addresses, [f"11.12.165.{80 + n}" for n in range(MANY)]),
    ("ascend/hccn_tool_link_g.txt", ascend.hccn_links, ["UP"]),
    ("ascend/hccn_tool_lldp_ifname_8.txt", lambda out: len(ascend.hccn_neighbours(out)), MANY),
    ("ascend/hccn_tool_net_health_g.txt", ascend.hccn_health, ["Success"]),
    ("ascend/hccn_tool_net_health_g_fault.txt", ascend.hccn_health, ["Fault"]),
    ("ascend/hccn_tool_ping.txt", ascend.hccn_ping, 0.0),
    ("ascend/hccn_tool_tls_g_grep_switch_8.txt", ascend.hccn_tls, ["0"] * MANY),
    (
        "ascend/mind-cluster/st_module_testcase__kg_parse__npu_info_before.txt",
        of_command("npu-smi info -m", ascend.npu_map),
        ["Ascend 910A"] * MANY,
    ),
    (
        "ascend/mind-cluster/st_testcase__modelarts-job-testdt__ascend__environment_check__worker-0__npu_info_before.txt",
        of_command("cat /usr/local/Ascend/driver/version.info", ascend.driver_version),
        "23.0.7",
    ),
    (
        "ascend/mind-cluster/st_cqe_testcase__modelarts-job-testdt__ascend__environment_check__worker-9__"
        "npu_info_after.txt",
        of_command("hccn_tool -ip -g", lambda out: ascend.hccn_addresses(out)[:2]),
        ["192.1.45.172", "192.2.167.33"],
    ),
    (
        "ascend/mind-cluster/st_module_testcase__kg_parse__npu_info_after.txt",
        of_command("hccn_tool -stat -g", lambda out: key_values(out, ":")["roce_rx_err_pkt_num"]),
        "0",
    ),
    ("nvidia/query_gpu_a100.csv", chips(nvidia.gpus), (1, "NVIDIA A100-SXM4-40GB", 0, 0, 40960)),
    ("nvidia/query_gpu_a5500_bus.csv", chips(nvidia.gpus), (1, "NVIDIA RTX A5500 Laptop GPU", 0, 0, 16384)),
    ("nvidia/query_gpu_l4_power.csv", chips(nvidia.gpus), (1, "NVIDIA L4", 0, 0, 24564)),
    ("nvidia/query_gpu_p100_uuid.csv", chips(nvidia.gpus), (1, "Tesla P100-PCIE-16GB", 0, 0, 16384)),
    ("nvidia/query_gpu_rtx6000ada_x2.csv", chips(nvidia.gpus), (2, "NVIDIA RTX 6000 Ada Generation", 0, 0, 49140)),
    ("nvidia/proc_driver_version_440.txt", nvidia.kernel_module, "440.33.01"),
    ("nvidia/nvcc_version_12.4.txt", nvidia.nvcc, "12.4"),
    ("nvidia/azure_good_nvlink_status.txt", lambda out: nvidia.nvlinks(out)["7"], ["25 GB/s"] * 12),
    ("nvidia/azure_bad_nvlink_status.txt", nvidia.nvlinks, {"6": ["inactive"]}),
    (
        "nvidia/azure_bad_nvsmi8_output.txt",
        lambda out: nvidia.retired_pages(out)[:2],
        [{"single": 60, "double": 5, "pending": False}, {"single": 2, "double": 61, "pending": True}],
    ),
    ("nvidia/azure_bad_nvsmi8_output.txt", nvidia.cuda_level, "12.2"),
    ("nvidia/azure_orig_nvsmi8_output.txt", lambda out: len(nvidia.retired_pages(out)), MANY),
    ("sophgo/bm-smi_text_format_SC5plus.txt", chips(sophgo.bm_smi), (3, "1684-SC5+", 0, 0, 7086)),
    ("amd/rocm-smi_showdriverversion.csv", amd.driver, "4.18.0-348.12.2.el8_5.x86_64"),
    (
        "amd/rocm-smi_showproductname.csv",
        chips(amd.cards),
        (2, "Arcturus GL-XL [AMD Instinct MI100]", 0, 0, None),
    ),
    (
        "amd/rocm-smi_showproductname.json",
        chips(amd.cards),
        (1, "AMD INSTINCT MI200 (MCM) OAM LC MBA HPE C2", 0, 0, None),
    ),
    ("cambricon/cnmon_4.20.11.txt", chips(cambricon.cards), (3, "MLU370-X4", 0, 0, 23308)),
    ("cambricon/cnmon_4.20.11.txt", cambricon.driver, "4.20.11"),
    ("cambricon/cnmon_5.10.22.txt", lambda out: {card["model"] for card in cambricon.cards(out)}, {"MLU370-X8"}),
    ("cambricon/cnmon_5.10.22.txt", cambricon.driver, "5.10.22"),
    ("conda/_libgcc_mutex-0.1-main.json", part(python.conda_record, "name", "version"), ("_libgcc_mutex", "0.1")),
    ("conda/history", lambda out: python.conda_history(out)["python"], "3.10.18 h1a3bd86_0"),
    ("python/direct_url_editable.json", part(python.origin, "editable", "commit"), (True, "")),
    ("python/direct_url_git.json", part(python.origin, "commit"), ("1fd51dd445dc21e4ebcd4a1c155b2d959af6cca4",)),
    ("python/pip_freeze_editable.txt", lambda out: python.frozen(out)["/opt/src/gp"], "editable /opt/src/gp"),
    ("python/pip_freeze_git.txt", lambda out: python.frozen(out)["demo-pkg"][-40:][:7], "1fd51dd"),
    ("python/pip_list_format_freeze_editable.txt", part(python.frozen, "demo-pkg", "pip"), ("0.1.0", "23.2.1")),
    ("host/boot_id.txt", host.boot_id, "06d9fcfb-0a08-45bd-b31d-e0c73b74929b"),
    ("host/df_devshm.txt", host.free_space, {"size": 25276514304, "free": 25276510208}),
    ("host/etc_hosts.txt", lambda out: host.hosts_file(out)["node2"], ["10.77.0.2"]),
    ("host/getconf_glibc.txt", host.glibc, "2.36"),
    ("host/ldd_version.txt", host.glibc, "2.36"),
    ("host/getent_hostname.txt", host.resolved, ["127.0.0.1"]),
    ("host/ip_j_addr.json", lambda out: {"lo", "eth0"} <= {a["interface"] for a in host.addresses(out)}, True),
    ("host/os-release_debian12", host.os_release, "Debian GNU/Linux 12 (bookworm)"),
    ("host/proc_meminfo.txt", part(host.memory, "total", "swap"), (24684096 * 1024, 0)),
    ("host/proc_net_dev.txt", lambda out: host.traffic(out)["lo"]["received"], 6377173),
    ("host/timedatectl_show.txt", host.synchronised, ValueError("not been booted with systemd")),
    ("host/ulimit_a_debian12.txt", part(host.all_limits, "open files", "max locked memory"), ("20000", "8192")),
    ("host/uname.txt", host.kernel, {"release": "6.18.44-fc-v595", "arch": "x86_64"}),
]
NOT_OUTPUTS = ("peers", "ssh")
"""Folders with other projects' settings and transcripts of logins."""


def files() -> set[str]:
    paths = [path.relative_to(SAMPLES) for path in SAMPLES.rglob("*") if path.is_file()]
    return {str(p) for p in paths if p.suffix not in (".md", ".rst") and p.parts[0] not in NOT_OUTPUTS}


def test_every_sample_has_its_case() -> None:
    assert files() == {name for name, _, _ in CASES}


IDS = [f"{number}-{Path(name).name}" for number, (name, _, _) in enumerate(CASES)]


@pytest.mark.parametrize(("name", "parse", "facts"), CASES, ids=IDS)
def test_a_sample_gives_its_facts(name: str, parse: Parser, facts: Any) -> None:
    out = (SAMPLES / name).read_text(encoding="utf-8")
    if isinstance(facts, ValueError):
        with pytest.raises(ValueError, match=str(facts)):
            parse(out)
    else:
        assert parse(out) == facts


MUTATIONS = 10_000
PIECE = 2048
"""Of a longer sample a piece of this size is damaged, another one each time."""


@pytest.mark.parametrize(("name", "parse"), [case[:2] for case in CASES], ids=IDS)
def test_a_damaged_sample_is_a_fact_or_a_named_unknown(name: str, parse: Parser) -> None:
    whole = (SAMPLES / name).read_bytes()
    chance = random.Random(name)
    row = Row(name="sample", run="cat", parse=parse)
    for _ in range(MUTATIONS):
        start = chance.randrange(max(1, len(whole) - PIECE))
        out = mutated(bytearray(whole[start : start + PIECE]), chance).decode("utf-8", "replace")
        (fact,) = as_facts("node", [row], {"commands": {"host cat": {"code": 0, "out": out, "err": ""}}})
        assert fact.error != "", out
        assert fact.error is None or fact.value is None


def mutated(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 4, 16))):
        place = chance.randrange(len(data)) if data else 0
        match chance.randrange(4):
            case 0 if data:
                data[place] = chance.randrange(256)
            case 1:
                data[place:place] = bytes([chance.randrange(256)])
            case 2 if data:
                del data[place]
            case _:
                del data[place:]
    return bytes(data)
