"""What differs between two runs: what matters first, and nothing of what only says where they ran."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmctl.run.differences import Difference, Told, differences

LEAVES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2) | st.none(), max_size=4)


def told(**more: object) -> Told:
    recipe = {
        "name": "a",
        "cluster": {"nodes": ["n1"], "workdir": "/w", "device": "cpu"},
        "train": {"learning_rate": 1e-4, "seed": 1},
        "data": {"datasets": ["x"]},
    }
    return Told(
        recipe=recipe,
        run={"world_size": 2, "global_batch": 8},
        digests={"data": "abc"},
        facts={"python.torch": "2.13.0", "package.numpy": "2.4"},
        **more,  # type: ignore[arg-type]
    )


def test_a_run_does_not_differ_from_itself() -> None:
    assert differences(told(), told()) == []


def test_the_most_suspicious_comes_first() -> None:
    other = Told(
        recipe={
            "name": "b",
            "cluster": {"nodes": ["n2"], "workdir": "/v", "device": "npu"},
            "train": {"learning_rate": 2e-4, "seed": 1, "warmup_steps": 3},
            "data": {"datasets": ["x", "y"]},
        },
        run={"world_size": 4, "global_batch": 8},
        digests={"data": "abd"},
        facts={"python.torch": "2.12.0", "driver.version": "25.0"},
    )
    assert [each.name for each in differences(told(), other)] == [
        "digests.data",
        "recipe.data.datasets",
        "recipe.train.learning_rate",
        "recipe.train.warmup_steps",
        "run.world_size",
        "python.torch",
        "recipe.cluster.device",
    ]
    assert differences(told(), other)[1] == Difference(name="recipe.data.datasets", left="x", right="x, y")
    assert differences(told(), other)[3] == Difference(name="recipe.train.warmup_steps", left=None, right="3")


@given(LEAVES, LEAVES, LEAVES, LEAVES)
def test_swapping_the_runs_swaps_the_sides(
    train: dict[str, int], facts: dict[str, int], other_train: dict[str, int], other_facts: dict[str, int]
) -> None:
    left = Told(recipe={"train": train}, facts=facts)
    right = Told(recipe={"train": other_train}, facts=other_facts)
    there = [Difference(name=d.name, left=d.right, right=d.left) for d in differences(right, left)]
    assert differences(left, right) == there
    assert bool(there) == (
        {k: v for k, v in train.items() if v is not None} != {k: v for k, v in other_train.items() if v is not None}
        or any(facts[k] != other_facts[k] for k in facts.keys() & other_facts.keys())
    )
