"""From a plan to running processes, for the first start and all later ones: gate, run folder, staging, start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from llmctl.checks.addresses import choose_addresses, choose_interfaces, free_port, known
from llmctl.checks.facts import Finding, Severity
from llmctl.errors import BlockedError, LlmctlError, ManyNodeErrors
from llmctl.launch.staging import Cargo, stage
from llmctl.launch.supervised import Job
from llmctl.remote.fanout import Outcome
from llmctl.remote.transport import Transport
from llmctl.render.files import shell_of
from llmctl.run.folder import RunFolder, write_json
from llmctl.workflows.check import CheckResult, check_nodes
from llmctl.workflows.drift import let_through
from llmctl.workflows.live import Live
from llmctl.workflows.question import question_of
from llmctl.workflows.render import Draft
from llmctl.workflows.slurm_gate import allocated


class Teller(Protocol):
    """Who is told how the start goes on."""

    def step(self, text: str) -> None:
        """A new part of the work begins."""

    def findings(self, findings: Sequence[Finding]) -> None:
        """What the check found, blocking or not."""


def pass_gate(
    planned: Draft, transports: Mapping[str, Transport], allowed: Sequence[str], teller: Teller
) -> CheckResult:
    """Check the nodes of a run. Raises BlockedError for findings whose codes are not `allowed`, ManyNodeErrors when not
    all nodes could be checked."""
    teller.step("checking the nodes")
    question, recipe = question_of(planned), planned.loaded.recipe
    if recipe.launch.backend == "slurm":
        with allocated(planned, transports, teller.step) as steps:
            if not steps:
                return CheckResult(question=question, nodes=planned.nodes, facts=(), findings=())
            checked = check_nodes(planned.nodes, steps, question, recipe=recipe)
    else:
        checked = check_nodes(planned.nodes, transports, question, recipe=recipe)
    if checked.interrupted:
        raise KeyboardInterrupt
    if checked.errors:
        raise ManyNodeErrors(list(checked.errors.values()), what="the check could not be made on all nodes")
    teller.findings(checked.findings)
    for line in let_through(checked.findings, allowed):
        teller.step(line)
    blocking = [
        finding for finding in checked.findings if finding.severity is Severity.ERROR and finding.code not in allowed
    ]
    if blocking:
        codes = list(dict.fromkeys(finding.code for finding in blocking))
        raise BlockedError(
            f"{len(blocking)} {'finding blocks' if len(blocking) == 1 else 'findings block'} the start",
            why=", ".join(codes),
            hint="mend the nodes, or go on all the same with " + " ".join(f"--allow-drift {code}" for code in codes),
        )
    return checked


def found_on(planned: Draft, checked: CheckResult) -> dict[str, Any]:
    """What the nodes told that a plan needs: addresses, interfaces, a free port."""
    values = known(checked.facts)
    return {
        "addresses": choose_addresses(values, planned.nodes),
        "interfaces": choose_interfaces(values, planned.nodes),
        "master_port": free_port(values, planned.nodes[0].name),
    }


def job_of(planned: Draft) -> Job:
    """What a backend needs to know of a run."""
    plan = planned.plan
    return Job(
        run_id=plan.run_id,
        run_dir=plan.paths.run_dir,
        nodes=tuple(node.name for node in planned.nodes),
        python=plan.python,
        shell=shell_of(plan.recipe),
        device=plan.recipe.cluster.device,
    )


def write_down(folder: RunFolder, planned: Draft, checked: CheckResult) -> None:
    """Write the rendered files and the nodes' facts to the run folder."""
    for node in planned.nodes:
        facts = [asdict(fact) for fact in checked.facts if fact.node == node.name]
        write_json(folder.facts(node.name), facts)
    for path, text in planned.files.items():
        _write_private(folder.root / path, text)


def bring_up(live: Live, planned: Draft, teller: Teller, *, before: Callable[[], None] = lambda: None) -> None:
    """Stage everything on all nodes, do what is to be done `before`, start the processes. Raises ManyNodeErrors."""
    try:
        staged = stage(
            live.job, cargo_of(planned), live.transports, lambda node, what: teller.step(f"{node}: copying {what}")
        )
    except KeyboardInterrupt:
        live.transports.clear()  # they are closed
        raise
    raise_errors(staged)
    for outcome in staged:
        teller.step(f"{outcome.item}: {outcome.value}")
    before()
    teller.step(f"starting {planned.plan.world_size} processes")
    raise_errors(live.backend.submit(live.job, live.transports))


def cargo_of(planned: Draft) -> Cargo:
    """What goes to the nodes."""
    paths, trees = planned.plan.paths, planned.inputs.staged
    places = {
        "engine": paths.engine_dir,
        "data": paths.data_dir,
        "prepared": paths.prepared_dir,
        "model": paths.model_path,
        "adapter": paths.adapter_path,
    }
    return Cargo(files=planned.files, trees={str(places[kind]): tree for kind, tree in trees.items()})


def raise_errors(outcomes: Sequence[Outcome[Any, Any]]) -> None:
    """Raise ManyNodeErrors with the errors of all nodes, if there are any."""
    errors: list[LlmctlError] = [outcome.error for outcome in outcomes if outcome.error]
    if errors:
        raise ManyNodeErrors(errors, what=f"{len(errors)} of {len(outcomes)} nodes failed; nothing was started")


def _write_private(path: Path, text: str) -> None:
    """Rendered files hold `cluster.env`, which may hold tokens."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
