"""The story of `llmctl rerun`: a run that is made again from what its folder holds, and held against the first one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmctl.errors import UsageError
from llmctl.run.folder import RunFolder
from llmctl.run.index import find_run, runs_folder
from llmctl.run.states import ENDED
from llmctl.workflows.differing import told_digests
from llmctl.workflows.far import fetching
from llmctl.workflows.manifest import digests_of
from llmctl.workflows.report_sources import find_source, read_source
from llmctl.workflows.run import RunRequest, work_out

READ = {
    "data": ("data.",),
    "model": ("model.",),
    "adapter": ("train.lora.",),
    "prepared": ("data.", "model.", "train.stage", "train.seed"),
}
"""What a run learns from -> the keys of a recipe that choose it."""
WORDS = {"prepared": "key of the tokens"}


def repeated(
    given: str, *, sets: Sequence[str] = (), runs: Path | None = None, allow_drift: Sequence[str] = ()
) -> tuple[RunRequest, list[str]]:
    """The request for the same run once more, and remarks on what nobody can say is the same. Recipe and nodes are the
    first run's, `sets` change keys of the recipe; the new folder lies beside the old one, or in `runs`.

    Raises UsageError when the first run has not ended or told no losses, and when data or weights are not what they
    were."""
    folder = find_run(given, runs_folder(runs))
    manifest = folder.read_manifest()
    if manifest.get("state") not in ENDED:
        raise UsageError(
            f"{folder.run_id} has not ended",
            why=f"it is {manifest.get('state')}; there is nothing whole to compare with",
            hint=f"llmctl attach {folder.run_id}",
        )
    with fetching() as fetch:
        read_source(find_source(str(folder.root), runs, fetch))  # not to find out after hours of training
    request = RunRequest(
        source=str(folder.recipe),
        sets=tuple(sets),
        runs=runs or folder.root.parent,
        allow_drift=tuple(allow_drift),
        repeat=folder,
    )
    return request, _remarks(folder, told_digests(manifest), digests_of(work_out(request)), sets)


def _remarks(folder: RunFolder, before: dict[str, str], now: dict[str, str], sets: Sequence[str]) -> list[str]:
    asked = {kind for kind, keys in READ.items() if any(each.startswith(keys) for each in sets)}
    for kind in READ:
        if kind not in asked and kind in before and kind in now and before[kind] != now[kind]:
            raise UsageError(
                f"the {WORDS.get(kind, kind)} is not what {folder.run_id} was trained on",
                where=str(folder.manifest),
                why=f"its digest was {before[kind][:12]}, it is {now[kind][:12]} now",
                hint=f"bring it back as it was; with the new one it is another run: llmctl run {folder.recipe}",
            )
    remarks = []
    if "data" not in asked and not {"data"} <= before.keys() & now.keys():
        remarks.append("nobody can say whether the data is the same: it lies on the nodes, or the record is older")
    if "engine" in before and "engine" in now and before["engine"] != now["engine"]:
        remarks.append("the engine has changed since then; the comparison shows whether that matters")
    return remarks
