"""What the nodes are asked about each other."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping

from llmctl.checks.facts import Fact
from llmctl.checks.probing import MARKS
from llmctl.recipe.hosts import Node
from llmctl.recipe.schema import Recipe
from llmctl.remote.fanout import Outcome
from llmctl.remote.transport import CommandResult
from llmctl.workflows.asking import Answered
from llmctl.workflows.pairs import ask_pairs


def test_the_first_node_tries_the_logins_that_pdsh_will_make() -> None:
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "cluster": {"device": "cpu", "nodes": ["a", "b"], "workdir": "/w", "user": "me", "port": 2222},
            "launch": {"backend": "pdsh", "launcher": "deepspeed"},
            "model": {"path": "m"},
            "data": {"datasets": ["d"]},
        }
    )
    asked: dict[str, list[str]] = {}

    def ask(programs: Mapping[str, str], _done: Callable[[Outcome[str, Answered]], None], _patience: float) -> None:
        for node, text in programs.items():
            (encoded,) = re.findall(r'\nmain\("(.*)"\)\n', text)
            commands = json.loads(base64.b64decode(encoded))["commands"].values()
            asked[node] = [command["run"] for command in commands if command["run"].startswith("ssh ")]

    ask_pairs(ask, [Node(name="a"), Node(name="b")], [], recipe)
    assert [command.partition("ConnectTimeout=8 ")[2] for command in asked["a"]] == [
        "-o User=me -p 2222 a true",
        "-o User=me -p 2222 b true",
    ]
    assert asked["b"] == []


def test_a_port_that_was_taken_meanwhile_is_no_matter_of_the_way_to_it() -> None:
    def ask(programs: Mapping[str, str], done: Callable[[Outcome[str, Answered]], None], _patience: float) -> None:
        for node in programs:
            error = "Address already in use" if node == "a" else None
            told = {
                "commands": {}, "activation_error": None, "resolve": {}, "tried": {},
                "connect": {"a": "Connection refused"} if node == "b" else {"b": None},
                "listen": {"came": 0, "error": error, "held": []},
            }  # fmt: skip
            result = CommandResult(0, f"\n{MARKS[0]}\n{json.dumps(told)}\n{MARKS[1]}\n", "")
            done(Outcome(node, Answered(result=result, asked=0.0, answered=0.0)))

    nodes = [Node(name="a"), Node(name="b")]
    facts, _ = ask_pairs(ask, nodes, [Fact(name="network.port", node=node.name, value=29500) for node in nodes], None)
    (told,) = [fact.value for fact in facts if (fact.name, fact.node) == ("network.connect", "b")]
    assert told == {"a": "another program took the port meanwhile: Address already in use"}
