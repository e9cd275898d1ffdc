"""The launcher's copy of the records, with a file in the place of the first node's."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmctl.errors import NodeError
from llmctl.launch.backends import BACKENDS
from llmctl.launch.supervised import Job
from llmctl.recipe.hosts import Node
from llmctl.remote.local import LocalTransport
from llmctl.run.folder import RunFolder
from llmctl.workflows.live import Live
from llmctl.workflows.mirror import RECORDS, Mirror


def test_records_are_added_once_and_what_is_missing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, here = Node(name="a"), RunFolder(tmp_path / "launcher")
    there = tmp_path / "node" / RECORDS
    there.parent.mkdir(parents=True)
    transport = LocalTransport(node)
    live = Live(
        folder=here,
        job=Job(run_id="r", run_dir=str(tmp_path / "node"), nodes=("a",), python="python3", shell="sh"),
        backend=BACKENDS["ssh"],
        nodes=(node,),
        transports={"a": transport},
        login={"user": None, "port": None},
        local=False,
    )
    mirror = Mirror(live)
    mirror.take("eins\n", 5)
    mirror.take("eins\nzwei\n", 10)
    assert here.steps.read_text() == "eins\nzwei\n"
    there.write_text("eins\nzwei\ndrei\nvier\n")

    def away(_remote: str, _local: Path) -> None:
        raise NodeError("away")

    with monkeypatch.context() as patch:
        patch.setattr(transport, "get", away)
        mirror.take("vier\n", 20)
    assert here.steps.read_text() == "eins\nzwei\n", "nothing with a gap"
    monkeypatch.setattr(mirror, "_fetch_at", 0.0)
    mirror.take("vier\n", 20)
    mirror.take("vier\nfünf\n", 26)
    assert here.steps.read_text() == "eins\nzwei\ndrei\nvier\nfünf\n"
