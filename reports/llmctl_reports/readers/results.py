"""`all_results.json` and `train_results.json` of transformers: the final metrics alone."""

from __future__ import annotations

import re

from llmctl_reports.errors import ReportError
from llmctl_reports.readers.common import final_of, parsed
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import Final, RunLog

METRICS = re.compile(r"\s*\{[^{}\[\]]*\"train_(?:loss|runtime|samples_per_second|steps_per_second)\"")
"""Final metrics of training; those of an evaluation alone are no log."""


def sniff(head: str) -> bool:
    """Whether it begins as a JSON object with such metrics and no list or object before them."""
    return METRICS.match(head) is not None


def read(source: Source) -> RunLog:
    """No points, but the final metrics. Raises ReportError when the file is no such object."""
    try:
        metrics = parsed(source.text())
    except ValueError as error:
        raise ReportError("the file is no whole JSON", where=str(source.path), why=str(error)) from None
    final = final_of(metrics) if isinstance(metrics, dict) else Final()
    return RunLog(source=str(source.path), format="all_results.json", points=Gathering().points(), final=final)
