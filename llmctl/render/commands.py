"""The very commands that a run starts on its nodes."""

from __future__ import annotations

from dataclasses import dataclass

from llmctl.quoting import sh_quote
from llmctl.render.files import shell_of
from llmctl.run.plan import Plan


@dataclass(frozen=True)
class NodeCommand:
    """What one node is told to run, with its sh."""

    node: str
    command: str


def commands(plan: Plan) -> tuple[NodeCommand, ...]:
    """One command a node, in the order of the ranks; with pdsh the first node's alone, with Slurm the submission."""
    if plan.recipe.launch.backend == "slurm":
        login = (plan.recipe.launch.slurm and plan.recipe.launch.slurm.login) or "localhost"
        return (NodeCommand(login, f"sh {sh_quote(f'{plan.paths.run_dir}/submit.sh')}"),)
    script = sh_quote(f"{plan.paths.run_dir}/launch.sh")
    nodes = plan.nodes[:1] if plan.recipe.launch.backend == "pdsh" else plan.nodes
    return tuple(NodeCommand(node.name, f"{shell_of(plan.recipe)} {script} {node.rank}") for node in nodes)
