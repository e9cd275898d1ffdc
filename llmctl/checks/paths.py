"""What a recipe expects to lie on the nodes already: the model, the data, the adapter."""

from __future__ import annotations

from llmctl.checks import parsers
from llmctl.checks.rows import Row
from llmctl.quoting import sh_quote
from llmctl.run.plan import NodePaths

_DIGESTS = (
    "find . -type f -not -path '*/.git/*' -not -name '*.pyc' "
    r"\( -size +16384k -printf 'size:%s  ./%P\n' -o -exec sha256sum {} + \) | LC_ALL=C sort -k2 | head -5000"
)


def path_rows(paths: NodePaths, staged: frozenset[str]) -> list[Row]:
    """A row for each folder that is not staged: its files, the same on all nodes; small files by their content, those
    over 16 MiB (weights) by their size."""
    places = {"model": paths.model_path, "adapter": paths.adapter_path, "data": paths.data_dir}
    keys = {"model": "model.path", "adapter": "train.lora.adapter", "data": "data.dir"}
    rows = []
    for kind, place in places.items():
        if place is None or kind in staged:
            continue
        rows.append(
            Row(
                name=f"{kind}.files",
                run=f"cd {sh_quote(place)} && {_DIGESTS}",
                parse=parsers.file_digests,
                must=f"{keys[kind]} is not on the node: {place}",
                remedy=f"copy it to the same place on every node, or let it be staged (docs/recipe.md, {keys[kind]})",
            )
        )
    return rows
