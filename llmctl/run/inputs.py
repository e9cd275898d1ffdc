"""What a recipe reads: which of it lies beside the recipe on the launcher and goes to the nodes, and which must be
on the nodes already."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from llmctl_engine import rows, sources
from llmctl_engine.digests import Digest, file_sha256

from llmctl.errors import UsageError
from llmctl.recipe.schema import Recipe
from llmctl.resources import engine_dir
from llmctl.run.plan import NodePaths
from llmctl.run.prepared import Prepared
from llmctl.run.trees import Tree, files_below, make_tree
from llmctl.run.vocabulary import assert_writable


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """`staged` trees by kind (engine, data, prepared, model, adapter); what is not staged is a path on the nodes."""

    staged: Mapping[str, Tree]
    data_dir: str | None
    """Set when the data is on the nodes already; relative to workdir or absolute. Likewise the next two."""
    model_path: str | None
    adapter_path: str | None
    reference: Path | None
    """The reference log on the launcher."""
    rows: int | None = None
    """Rows of all datasets together; None when they are not on the launcher."""
    samples: int | None = None
    """What fills one place of a batch, see `Plan.steps`; None when only the tokens tell."""
    data: Tree | None = None
    """The datasets' files where the launcher has them, whether they travel or not."""
    prepared: Prepared | None = None
    """What is trained on in place of the datasets' files."""
    key: str | None = None
    """Of the tokens that are trained on, where it can be worked out here."""

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each staged tree."""
        return {kind: tree.size for kind, tree in self.staged.items()}

    def paths(self, workdir: str, run_dir: str) -> NodePaths:
        """Where everything lies on the nodes; staged trees under the folder of their digest."""

        def place(kind: str, folder: str, given: str | None) -> str | None:
            if kind in self.staged:
                return f"{workdir}/{folder}/{self.staged[kind].digest[:16]}"
            return str(PurePosixPath(workdir) / given) if given is not None else None

        return NodePaths(
            run_dir=run_dir,
            engine_dir=place("engine", "engine", None) or str(engine_dir()),
            data_dir=place("data", "data", self.data_dir) or workdir,
            model_path=place("model", "models", self.model_path),
            adapter_path=place("adapter", "models", self.adapter_path),
            prepared_dir=place("prepared", "prepared", str(self.prepared.folder) if self.prepared else None),
        )


def survey(recipe: Recipe, folder: Path, prepared: Prepared | None = None, digest: Digest = file_sha256) -> Inputs:
    """Look at the launcher's side of a recipe whose relative paths start at `folder`. A `prepared` folder that fits it
    goes to the nodes in place of the data.

    The local backend stages nothing: everything is used where it lies. Raises UsageError for a dataset, model or
    reference that is missing.
    """
    local = recipe.launch.backend == "local"
    staged: dict[str, Tree] = {} if local else {"engine": _engine_tree()}
    data_dir = launcher_data(recipe, folder)
    data = make_tree(dataset_files(recipe, data_dir), digest) if data_dir else None
    if prepared and not local:
        staged["prepared"] = prepared.tree()
    elif data and not local:
        staged["data"] = data
    kept: dict[str, str | None] = {}
    for kind, given, wanted in (
        ("model", recipe.model.path, recipe.model.stage),
        ("adapter", recipe.train.lora.adapter, True),
    ):
        here = _beside(folder, given, local=local) if given else None
        if here and not local and wanted:
            staged[kind] = make_tree(files_below(here))
        if local and given and not here:
            raise missing(folder / given, _KEY[kind])
        if wanted and given and not here and not local and kind == "model":
            raise missing(folder / given, "model.path", why="model.stage copies it")
        if kind == "model" and here and (local or wanted) and not (here / "config.json").is_file():
            raise UsageError(
                "is no model folder", where=str(here), why="it has no config.json", hint="see model.path in the recipe"
            )
        if kind == "model" and (given is None or (here and (local or wanted))):
            assert_writable(recipe, here)
        kept[kind] = str(here) if here and local else given
    if local and not data_dir:
        raise missing(folder / recipe.data.dir, "data.dir")
    if prepared:
        counted = RowCount(prepared.rows, prepared.samples)
    else:
        counted = _look_at_rows(recipe, data_dir) if data_dir else RowCount()
    reference = None
    if recipe.report.reference:
        reference = _launcher_path(folder, recipe.report.reference)
        if reference is None:
            raise missing(folder / recipe.report.reference, "report.reference", what="file")
    return Inputs(
        staged=staged,
        data_dir=str(data_dir) if data_dir and local else recipe.data.dir,
        model_path=kept["model"],
        adapter_path=kept["adapter"],
        reference=reference,
        rows=counted.rows,
        samples=counted.samples,
        data=data,
        prepared=prepared,
    )


def missing(path: Path, key: str, *, what: str = "folder", why: str = "") -> UsageError:
    """That what a key of the recipe names is not on this machine."""
    return UsageError(f"no such {what}: {path}", where=key, why=why, hint=f"name another: --set {key}={what.upper()}")


def launcher_data(recipe: Recipe, folder: Path) -> Path | None:
    """The folder of the datasets, where it is the launcher's."""
    return _beside(folder, recipe.data.dir, local=recipe.launch.backend == "local")


_KEY = {"model": "model.path", "adapter": "train.lora.adapter"}


def dataset_files(recipe: Recipe, data_dir: Path) -> dict[str, Path]:
    """The files that the recipe's datasets are made of, with `dataset_info.json` if there is one; names relative to
    `data_dir`. A dataset of the hub has none. Raises UsageError naming the datasets that are there."""
    info_file = data_dir / sources.INFO
    info = _read_info(data_dir)
    files = {info_file.name: info_file} if info else {}
    for name in recipe.data.datasets:
        entry = info.get(name, {})
        file_name = entry.get("file_name") if isinstance(entry, dict) else None
        try:
            found = sources.local_files(data_dir, name, entry) if isinstance(entry, dict) else ()
        except ValueError as error:
            raise UsageError(str(error), where="data.datasets") from None
        if not found and name in info and not isinstance(file_name, str):
            if isinstance(entry, dict) and "hf_hub_url" in entry:
                continue
            raise UsageError(f"dataset {name}: has no file_name", where=str(info_file), why="only local files")
        if not found:
            here = sorted(
                {*info, *(p.stem for p in data_dir.iterdir() if p.suffix in sources.SUFFIXES)} - {info_file.stem, name}
            )
            near = difflib.get_close_matches(name, here, n=1)
            looked = [file_name] if isinstance(file_name, str) else [name + suffix for suffix in sources.SUFFIXES]
            raise UsageError(
                f"no dataset {name} in {data_dir}",
                where="data.datasets",
                why=f"looked for {', '.join(looked)}",
                hint=f"did you mean {near[0]}?" if near else f"there are {', '.join(here) or 'none'}",
            )
        files |= {str(path.relative_to(data_dir)): path for path in found}
    return files


def _read_info(data_dir: Path) -> dict[str, Any]:
    try:
        return sources.read_info(data_dir)
    except ValueError as error:
        raise UsageError(str(error), where="data.dir") from None


@dataclass(frozen=True)
class RowCount:
    """Rows that can be trained on, and what they become; None where that cannot be said here."""

    rows: int | None = None
    samples: int | None = None


def _look_at_rows(recipe: Recipe, data_dir: Path) -> RowCount:
    """Count the rows, of each dataset at most `data.max_samples`: not those of the hub, nor Parquet without pyarrow.
    They are samples where they are neither joined nor packed. Raises UsageError for a file that is no dataset, and for
    broken rows unless the recipe skips them: better here than on the nodes."""
    data = recipe.data
    try:
        found = sources.sources(data_dir, data.datasets)
        parquet = any(path.suffix == ".parquet" for source in found for path in source.files)
        if any(source.hub for source in found) or (parquet and importlib.util.find_spec("pyarrow") is None):
            return RowCount()
        read = rows.read(found, rows.Wanted.of(recipe.train, data))
    except (OSError, ValueError) as error:
        raise UsageError(str(error), where="data.datasets", hint=sources.REMEDY) from None
    if read.broken and data.broken_rows == "stop":
        raise UsageError(
            "some rows cannot be trained on",
            where=str(data_dir),
            why=read.complaint(),
            hint="mend them, or leave them out with data.broken_rows: skip",
        )
    if not any(read.lengths):
        raise UsageError("no row to train on", where=str(data_dir), why=read.complaint())
    if recipe.train.stage == "pt" or data.packing != "none":
        return RowCount(len(read))
    if data.loss_on == "split":
        return RowCount(len(read), sum(len(sample.turns) for sample in read.samples()))
    return RowCount(len(read), len(read))


def _engine_tree() -> Tree:
    package = engine_dir() / "llmctl_engine"
    return make_tree({f"{package.name}/{name}": path for name, path in files_below(package).items()})


def _launcher_path(folder: Path, given: str) -> Path | None:
    path = folder / given
    return path.resolve() if path.exists() else None


def _beside(folder: Path, given: str, *, local: bool) -> Path | None:
    """An absolute path is a path on the nodes, which only with the local backend are the launcher."""
    return None if PurePosixPath(given).is_absolute() and not local else _launcher_path(folder, given)
