"""Folders that two runs stage at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from llmctl.launch.staging import Cargo, stage
from llmctl.launch.supervised import Job, call
from llmctl.recipe.hosts import Node
from llmctl.remote.local import LocalTransport
from llmctl.run.trees import make_tree
from tests.launch.supervising import HERE


class Beaten(LocalTransport):
    """A node on which, while one run copies, another has put something in the same place."""

    def __init__(self, place: Path, text: str) -> None:
        super().__init__(Node(name="here"))
        self.place, self.text = place, text

    def put(self, files: Mapping[str, bytes | Path], *, mode: int = 0o644) -> None:
        super().put(files, mode=mode)
        if any(".partial/" in name for name in files) and not self.place.exists():
            self.place.mkdir(parents=True)
            (self.place / "rows.json").write_text(self.text)


@pytest.mark.parametrize("text", ["[1]", "another text"])
def test_a_run_that_was_quicker_is_left_alone_or_mended(
    tmp_path: Path, make_job: Callable[..., Job], text: str
) -> None:
    source = tmp_path / "rows.json"
    source.write_text("[1]")
    target = tmp_path / "data" / "0123"
    job, tree = make_job(""), make_tree({"rows.json": source})
    (outcome,) = stage(job, Cargo(files={}, trees={str(target): tree}), {"here": Beaten(target, text)}, print)
    assert outcome.error is None
    assert [path.name for path in target.parent.iterdir()] == ["0123"]
    assert [path.name for path in target.iterdir()] == ["rows.json"]
    assert call(HERE, job, "digest", str(target))["digests"] == [tree.digest]
