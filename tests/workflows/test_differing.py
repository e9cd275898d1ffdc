"""What two runs tell of the tokens that they trained on."""

from __future__ import annotations

from typing import Any

from llmctl.run.differences import Told, differences
from llmctl.workflows.differing import told_digests


def trained_on(key: str, ids: str) -> dict[str, Any]:
    return {"digests": {"data": "d", "prepared": "planned"}, "trained_on": {"key": key, "files": {"ids.npy": ids}}}


def test_another_key_and_other_bytes_are_differences() -> None:
    def found(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
        told = [Told(recipe={}, digests=told_digests(each)) for each in (left, right)]
        return [each.name for each in differences(*told)]

    one = trained_on("k", "i")
    assert found(one, trained_on("k", "i")) == []
    assert found(one, trained_on("other", "i")) == ["digests.prepared"]
    assert found(one, trained_on("k", "other")) == ["digests.tokens"]
    assert found(one, {"digests": {"data": "d"}}) == []  # a run that told nothing of it
    assert found(one, {"digests": {"data": "e"}, "trained_on": None}) == ["digests.data"]
