"""From which checkpoint a run can go on. The file names are those of real checkpoints on two nodes."""

from __future__ import annotations

import pytest

from llmctl.run.restore import Held, Holdings, find_restore, nowhere

COMMON = ("llmctl_checkpoint.json", "scheduler.pt", "trainer_state.json")
FIRST = Held(world_size=2, files=(*COMMON, "model.safetensors", "optimizer.pt", "rng_state_0.pth"))
SECOND = Held(world_size=2, files=(*COMMON, "optimizer.pt", "rng_state_1.pth"))
PLAIN_DEEPSPEED = Held(world_size=2, files=(*COMMON, "global_step5/mp_rank_00_model_states.pt"))


def shard(*ranks: int, world_size: int = 2) -> Held:
    names = (f"global_step5/bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in ranks)
    return Held(world_size=world_size, files=(*COMMON, "global_step5/mp_rank_00_model_states.pt", *names))


@pytest.mark.parametrize(
    ("held", "new", "step", "copies"),
    [
        ({"a": {5: FIRST, 10: FIRST}, "b": {5: SECOND, 10: SECOND}}, ("a", "b"), 10, {}),
        ({"a": {5: FIRST, 10: FIRST}, "b": {5: SECOND}}, ("a", "b"), 10, {"b": "a"}),
        ({"a": {5: shard(0), 10: shard(0)}, "b": {5: shard(1)}}, ("a", "b"), 5, {}),
        ({"a": {10: FIRST}}, ("a", "c"), 10, {"c": "a"}),
        ({"a": {10: PLAIN_DEEPSPEED}}, ("a", "c"), 10, {"c": "a"}),
        ({"b": {10: PLAIN_DEEPSPEED}}, ("c", "b"), 10, {"c": "b"}),
        ({"b": {10: SECOND}}, ("c", "b"), None, {}),
        ({"a": {10: shard(0)}}, ("a", "c"), None, {}),
        ({"a": {10: shard(0)}, "b": {10: shard(1)}}, ("a", "c"), 10, {"c": "b"}),
        ({"a": {10: shard(0, 1)}}, ("a", "c"), 10, {"c": "a"}),
        ({"a": {10: shard(0, 1)}, "c": {10: shard(0, 1)}}, ("a", "c"), 10, {}),
        ({"a": {10: shard(0)}, "c": {10: shard(1)}}, ("c", "b"), None, {}),
        ({}, ("a", "c"), None, {}),
    ],
)
def test_the_newest_step_that_all_nodes_can_go_on_from(
    held: Holdings, new: tuple[str, ...], step: int | None, copies: dict[str, str]
) -> None:
    found = find_restore(held, ("a", "b"), new)
    assert (found and found.step) == step
    assert (found.copies if found else {}) == copies


def test_what_is_nowhere_is_told() -> None:
    assert nowhere({}) == ""
    assert nowhere({"b": {10: SECOND}}).endswith("b lacks the weights, which the first node alone writes")
    assert nowhere({"a": {10: shard(0)}}).endswith("a lacks the shards of rank 1")
    assert "a lacks the shards of ranks 8-15" in nowhere({"a": {10: shard(*range(8), world_size=16)}})
