"""`llmctl check --collective`: the ranks of a recipe meet for one all_reduce of 1 MiB."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from llmctl_engine.devices import DEVICES

from llmctl.checks.addresses import Values, choose_addresses, choose_interfaces, free_port
from llmctl.checks.collective import NAME
from llmctl.checks.facts import Fact
from llmctl.errors import NodeError, UsageError
from llmctl.quoting import sh_quote
from llmctl.remote.fanout import fan_out
from llmctl.remote.transport import CommandResult, Transport
from llmctl.render.files import EXACT_PREFIX, entering, environment, shell_of
from llmctl.resources import engine_dir
from llmctl.workflows.render import Draft

SECONDS = 45
"""Patience of a rank for the others; with importing torch the whole takes at most about a minute."""
BEGIN, STOP = "LLMCTL-COLLECTIVE-BEGIN", "LLMCTL-COLLECTIVE-END"
"""The lines around the answer."""
END = "LLMCTL_COLLECTIVE_PROGRAM"


def ask_collective(
    planned: Draft, transports: Mapping[str, Transport], values: Values, watch: Callable[[str, str], None]
) -> list[Fact]:
    """A fact for each node: what became of its ranks. Raises UsageError for a device that the engine cannot use."""
    recipe = planned.loaded.recipe
    device = DEVICES[recipe.cluster.device]
    if not device.engine:
        raise UsageError(f"--collective cannot use {device.name}", why="the bundled engine does not run on it")
    nodes = planned.nodes
    addresses, interfaces = choose_addresses(values, nodes), choose_interfaces(values, nodes)
    first = planned.plan.nodes[0]
    text = (engine_dir() / "llmctl_engine" / "collective.py").read_text(encoding="utf-8")
    request = {
        "world_size": planned.plan.world_size,
        "leaders": [(node.first_rank, node.name) for node in planned.plan.nodes],
        "address": recipe.cluster.master_addr
        or (addresses.get(first.name, first.address) if nodes[1:] else "127.0.0.1"),
        "port": free_port(values, first.name) or planned.plan.master_port,
        "backend": device.collective,
        "device": device.torch_name,
        "plugin": device.plugin,
        "seconds": SECONDS,
    }
    for node in nodes:
        watch(node.name, "all_reduce")

    def one(name: str) -> Any:
        (here,) = [node for node in planned.plan.nodes if node.name == name]
        asked = json.dumps(request | {"node": name, "first_rank": here.first_rank, "slots": here.slots})
        chosen = recipe.cluster.interface or interfaces.get(name)
        exports = "".join(
            f"export {variable}={sh_quote(EXACT_PREFIX.get(variable, '') + chosen)}\n"
            for variable in device.interface_variables
            if chosen and variable not in recipe.cluster.env
        )
        program = f"text = {text!r}\nexec(compile(text, 'collective.py', 'exec'))\nmain({asked!r}, text)\n"
        script = f"exec {sh_quote(planned.plan.python)} - <<'{END}'\n{program}\n{END}\n"
        entered = entering(recipe, environment(recipe)) + exports
        stdin = (entered + script).encode()
        return _told(name, transports[name].run(f"{shell_of(recipe)} -s", stdin=stdin, timeout=SECONDS + 30))

    return [
        Fact(
            name=NAME, node=outcome.item, value=outcome.value, source=f"all_reduce of 1 MiB over {device.collective}",
            error=outcome.error.what if outcome.error else None,
        )
        for outcome in fan_out([node.name for node in nodes if node.name in transports], one)
    ]  # fmt: skip


def _told(name: str, result: CommandResult) -> Any:
    _, begin, rest = result.stdout.partition(f"\n{BEGIN}\n")
    body, end, _ = rest.partition(f"\n{STOP}")
    if begin and end:
        return json.loads(body)
    said = (result.stderr.strip().splitlines() or [f"exit code {result.code}"])[-1]
    raise NodeError(f"its ranks did not start: {said}", where=name)
