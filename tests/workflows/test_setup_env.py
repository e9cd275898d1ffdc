"""`setup-nodes --env` on real nodes without an index: wheels that the test builds, and what goes wrong with them."""

from __future__ import annotations

import base64
import ensurepip
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunLlmctl, set_up
from tests.lab import Lab

pytestmark = pytest.mark.lab
FreshLab = Callable[..., Lab]


def wheel(folder: Path, name: str, version: str, *, body: str = "", needs: str = "") -> Path:
    """A wheel with one module and one program."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": body + f"\ndef main():\n    print('{name} {version}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-run = {name}:main\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    made = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return made


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """Two nodes that all tests share which use places of their own."""
    try:
        with Lab.start(2) as lab:
            if lab.site.password is None:
                pytest.skip("the nodes of a lab without root share this machine's files")
            set_up(lab)
            yield lab
    except RuntimeError as error:
        pytest.skip(f"no node lab: {error}")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """alpha, beta and pip; with pip's own wheel an environment is made faster than by ensurepip."""
    folder = tmp_path / "wheel house 轮"
    folder.mkdir()
    (pip,) = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
    shutil.copy(pip, folder)
    wheel(folder, "alpha", "1.0", needs="beta>=2")
    wheel(folder, "beta", "2.1")
    return folder


def result(run: RunLlmctl, lab: Lab, *words: str | Path, code: int = 0) -> dict[str, Any]:
    done = run("setup-nodes", "node1", "node2", *words, "--json", env=lab.env, code=code)
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def states(told: dict[str, Any]) -> list[str]:
    return [state["state"] for state in told["environments"]]


EVERYTHING = "find /tmp/w /root/.cache -printf '%p %m %s %T@ %l\\n' 2>/dev/null | sort"


def test_from_a_wheelhouse_both_nodes_get_the_same_and_a_second_run_changes_nothing(
    fresh_lab: FreshLab, run_llmctl: RunLlmctl, wheels: Path
) -> None:
    lab = fresh_lab(count=2)
    set_up(lab)
    words = ("--env", wheels, "--env-python", lab.python, "--env-path", "/tmp/w/envs/the env")
    dry = result(run_llmctl, lab, *words, "--dry-run")
    assert states(dry) == ["not in place"] * 2
    assert states(result(run_llmctl, lab, *words, "--check", code=3)) == ["not in place"] * 2
    assert [lab.exec(node, "ls -A /tmp/w").code for node in lab.nodes] == [2, 2]
    made = result(run_llmctl, lab, *words)
    assert states(made) == ["made", "made"]
    one, two = made["environments"]
    assert one["sha256"] == two["sha256"]
    assert {"alpha": "1.0", "beta": "2.1"}.items() <= one["packages"].items()
    assert made["differences"] == []
    ran = [lab.exec(node, "'/tmp/w/envs/the env/bin/alpha-run'; '/tmp/w/envs/the env/bin/python' -c 'import beta, sys; "
                    "print(sys.prefix)'").stdout for node in lab.nodes]  # fmt: skip
    assert ran == ["alpha 1.0\n/tmp/w/envs/the env\n"] * 2
    listed = lab.exec(lab.nodes[0], "ls -A /tmp/w/envs").stdout.splitlines()
    assert [name.rpartition("env-")[0] for name in listed] == [".the env.llmctl-", ""], "no wheels, no lock are left"
    before = [lab.exec(node, EVERYTHING).stdout for node in lab.nodes]
    again = result(run_llmctl, lab, *words)
    assert states(again) == ["in place", "in place"]
    assert [node["changes"] for node in again["nodes"]] == [[], []]
    assert [lab.exec(node, EVERYTHING).stdout for node in lab.nodes] == before
    assert result(run_llmctl, lab, *words, "--check")["exit_code"] == 0
    assert "envs" in (lab.home / "nodes.yaml").read_text()
    result(run_llmctl, lab)
    gone = result(run_llmctl, lab, "--remove")
    assert all("/tmp/w/envs/the env" in node["changes"] for node in gone["nodes"])
    assert [lab.exec(node, "ls -A /tmp/w /root/.cache").stdout for node in lab.nodes] == ["", ""]


def test_new_wheels_make_a_new_environment_in_the_old_ones_place(
    pair: Lab, run_llmctl: RunLlmctl, wheels: Path
) -> None:
    lab = pair
    words = ("--env", wheels, "--env-python", lab.python)
    first = result(run_llmctl, lab, *words)
    assert first["environments"][0]["path"] == "/root/llmctl-env"
    (wheels / "beta-2.1-py3-none-any.whl").unlink()
    wheel(wheels, "beta", "2.2")
    second = result(run_llmctl, lab, *words)
    assert states(second) == ["made", "made"]
    assert lab.exec(lab.nodes[1], "/root/llmctl-env/bin/beta-run").stdout == "beta 2.2\n"
    assert lab.exec(lab.nodes[1], "ls -dA /root/.llmctl-env* | wc -l").stdout == "1\n", "the old one is gone"


def test_what_was_changed_by_hand_is_named_and_mended(pair: Lab, run_llmctl: RunLlmctl, wheels: Path) -> None:
    lab = pair
    words = ("--env", wheels, "--env-python", lab.python, "--env-path", "/tmp/by hand")
    result(run_llmctl, lab, *words)
    assert lab.exec(lab.nodes[1], "'/tmp/by hand/bin/python' -m pip uninstall -y beta").ok
    told = result(run_llmctl, lab, *words, "--check", code=3)
    assert states(told) == ["in place", "not in place"]
    assert told["environments"][1]["notes"] == ["changed since it was made: beta"]
    assert states(result(run_llmctl, lab, *words)) == ["in place", "made"]
    assert lab.exec(lab.nodes[1], "'/tmp/by hand/bin/beta-run'").ok


def test_a_node_with_other_files_of_the_same_version_is_named(pair: Lab, run_llmctl: RunLlmctl, tmp_path: Path) -> None:
    lab = pair
    for number, node in enumerate(lab.nodes):  # as from an index that was changed in between
        made = wheel(tmp_path / f"index{number}", "gamma", "3", body=f"# build {number}\n")
        encoded = base64.b64encode(made.read_bytes()).decode()
        config = "[global]\nno-index = true\nfind-links = /tmp/index\n"
        there = f"mkdir -p /tmp/index && base64 -d > /tmp/index/{made.name} && printf '{config}' > /etc/pip.conf"
        assert lab.exec(node, there, stdin=encoded).ok
    (tmp_path / "requirements.txt").write_text("gamma==3\n")
    words = ("--env", tmp_path / "requirements.txt", "--env-python", lab.python, "--env-path", "/tmp/differs")
    told = result(run_llmctl, lab, *words, code=3)
    assert states(told) == ["made", "made"]
    assert "pip" in told["environments"][0]["packages"], "from the interpreter's own ensurepip"
    (difference,) = told["differences"]
    assert difference["package"] == "gamma"
    assert sorted(difference["values"].values()) == [["node1"], ["node2"]]
    assert all(value.startswith("3, files ") for value in difference["values"])


def test_a_lock_file_with_hashes_is_held_to(pair: Lab, run_llmctl: RunLlmctl, wheels: Path) -> None:
    lab = pair
    lines = []
    for path in sorted(wheels.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        if name == "pip":
            continue
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    words = ("--env", wheels, "--env-python", lab.python, "--env-path", "/tmp/locked/env")
    (wheels / "requirements.txt").write_text(lines[0] + lines[1].replace(lines[1][-65:], "0" * 64 + "\n"))
    told = result(run_llmctl, lab, *words, code=5)
    assert states(told) == ["failed", "failed"]
    assert "HASHES" in told["environments"][0]["error"]
    left = lab.exec(lab.nodes[0], "ls -A /tmp/locked | grep -v wheels").stdout
    assert left == "", "nothing half made is left"
    (wheels / "requirements.txt").write_text("".join(lines))
    assert states(result(run_llmctl, lab, *words)) == ["made", "made"]


def test_one_node_that_fails_leaves_the_other_done(pair: Lab, run_llmctl: RunLlmctl, wheels: Path) -> None:
    lab = pair
    assert lab.exec(lab.nodes[1], "mkdir -p /tmp/small && mount -t tmpfs -o size=2m none /tmp/small").ok
    told = result(
        run_llmctl, lab, "--env", wheels, "--env-python", lab.python, "--env-path", "/tmp/small/a/env", code=5
    )
    assert states(told) == ["made", "failed"]
    assert "No space left on device" in told["environments"][1]["error"]
    assert lab.exec(lab.nodes[1], "ls /tmp/small/a").stdout == ""


def test_something_else_in_its_place_is_left_alone(pair: Lab, run_llmctl: RunLlmctl, wheels: Path) -> None:
    lab = pair
    assert lab.exec(lab.nodes[0], "mkdir -p /tmp/mine/bin").ok
    told = result(run_llmctl, lab, "--env", wheels, "--env-python", lab.python, "--env-path", "/tmp/mine", code=5)
    assert states(told) == ["failed", "made"]
    assert "something else lies there" in told["environments"][0]["error"]


def test_nodes_that_share_a_folder_make_it_once(
    fresh_lab: FreshLab, run_llmctl: RunLlmctl, wheels: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    lab = fresh_lab(count=2, shared=shared)
    set_up(lab)
    told = result(run_llmctl, lab, "--env", wheels, "--env-python", lab.python, "--env-path", str(shared / "env"))
    assert sorted(states(told)) == ["in place", "made"]
    assert len(list(shared.iterdir())) == 2, "one environment and the link to it"
    result(run_llmctl, lab, "--remove")
    assert list(shared.iterdir()) == []


CONDA = """#!/bin/sh
# conda create --yes --quiet --prefix PREFIX ...
[ "$1 $2 $3 $4" = "create --yes --quiet --prefix" ] || exit 9
prefix=$5; shift 5
mkdir -p "$prefix/bin" "$prefix/conda-meta" && ln -s PYTHON "$prefix/bin/python" && echo "$@" > "$prefix/asked"
echo '{"name": "zlib", "version": "1.3", "build": "h0", "sha256": "abc"}' > "$prefix/conda-meta/zlib-1.3-h0.json"
"""


def test_conda_makes_it_where_it_is_asked_for(pair: Lab, run_llmctl: RunLlmctl, tmp_path: Path) -> None:
    lab = pair
    for node in lab.nodes:
        lab.write(node, "/root/miniconda3/bin/conda", CONDA.replace("PYTHON", lab.python), mode="755")
    (tmp_path / "explicit.txt").write_text("@EXPLICIT\nhttps://host/zlib-1.3-h0.conda#abc\n")
    told = result(
        run_llmctl, lab, "--env", tmp_path / "explicit.txt", "--env-python", "conda", "--env-path", "/tmp/con da"
    )
    assert states(told) == ["made", "made"]
    assert told["environments"][0]["packages"] == {"conda:zlib": "1.3=h0"}
    asked = lab.exec(lab.nodes[0], "cat '/tmp/con da/asked'").stdout
    assert asked.startswith("--file ")
    assert (
        states(
            result(
                run_llmctl,
                lab,
                "--env",
                tmp_path / "explicit.txt",
                "--env-python",
                "conda",
                "--env-path",
                "/tmp/con da",
            )
        )
        == ["in place"] * 2
    )
    missing = result(
        run_llmctl,
        lab,
        "--env",
        tmp_path / "explicit.txt",
        "--env-python",
        "mamba",
        "--env-path",
        "/tmp/con da",
        code=5,
    )
    assert "there is no mamba" in missing["environments"][0]["error"]
