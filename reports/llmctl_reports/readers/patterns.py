"""Formats in which one regular expression a line says it all."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from llmctl_reports.readers.common import final_beside, finite, number
from llmctl_reports.readers.gather import EXTRAS, Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import NOT_LOGGED, Meta, RunLog

NUMBER = r"[-+]?(?:nan|inf|(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?![.,]*\w)"
"""A whole number or none: what is damaged within does not give its beginning."""


@dataclass(frozen=True)
class LinePattern:
    """Groups: step and loss, further columns by their name, milliseconds, total (steps of the run), epoch_number and
    epoch_steps where the step begins anew in each epoch; epochs are counted from 1, or from 0 where the first is 0."""

    name: str
    line: re.Pattern[str]
    notes: tuple[str, ...] = ()
    zero_is_no_loss: bool = False
    """A loss of exactly 0 was not measured."""
    columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(name for name in EXTRAS if name in self.line.groupindex))

    def sniff(self, text: str) -> bool:
        """Whether a line has this form."""
        return self.line.search(text) is not None

    def read(self, source: Source) -> RunLog:
        """All points."""
        found, total, first_epoch = Gathering(), None, None
        for line in source.lines():
            match = self.line.search(line)
            if match is None:
                continue
            values = match.groupdict()
            step = int(values["step"])
            if "epoch_steps" in values:
                each, epoch = int(values["epoch_steps"]), int(values["epoch_number"])
                first_epoch = min(1, epoch) if first_epoch is None else first_epoch
                step, total = (epoch - first_epoch) * each + step, int(values["epochs"]) * each
            elif values.get("total"):
                total = int(values["total"])
            loss = number(values["loss"])
            if self.zero_is_no_loss and loss == 0:
                found.dropped[NOT_LOGGED] += 1
                continue
            extras = {name: finite(values[name]) for name in self.columns}
            if milliseconds := finite(values.get("milliseconds")):
                extras["seconds"] = milliseconds / 1000
            found.add(step, loss, **extras)
        return RunLog(
            source=str(source.path),
            format=self.name,
            points=found.points(),
            dropped=found.dropped,
            meta=Meta(total_steps=total),
            final=final_beside(source.path),
            notes=self.notes,
        )


def _compiled(text: str) -> re.Pattern[str]:
    """`<name>` stands for a number in a group of that name, `<#name>` for a whole one."""
    groups = re.sub(r"<#(\w+)>", r"(?P<\1>\\d{1,15})", text)
    return re.compile(re.sub(r"(?<!P)<(\w+)>", lambda match: f"(?P<{match[1]}>{NUMBER})", groups), re.MULTILINE)


COUNTS_FROM_ZERO = "its steps are counted from 0"

PATTERNS = (
    LinePattern(
        "torchtitan",
        _compiled(r"\bstep:\s*<#step>\s+loss:\s*<loss>(?:\s+grad_norm:\s*<grad_norm>)?.*\b[tw]ps:"),
    ),
    LinePattern(
        "torchtune",
        _compiled(r"\bStep <#step> \|(?=.*\bloss:<loss>)(?=.*?\blr:<learning_rate>|)(?=.*?\bgrad_norm:<grad_norm>|)"),
    ),
    LinePattern("torchtune's progress bar", _compiled(r"\b\d+\|<#step>\|Loss: <loss>(?=:)")),
    LinePattern(
        "MindFormers",
        _compiled(
            r"Epoch:\[\s*<#epoch_number>/\s*<#epochs>\], step:\[\s*<#step>/\s*<#epoch_steps>\],"
            r" loss: ?\[?<loss>(?:/[^\],]*\])?,(?: \w+_loss: [^,]*,)*"
            r" (?:per_step_)?time: ?(?P<milliseconds>[\d.]+) ?ms(?:, lr: ?\[?<learning_rate>)?"
            r"(?:.*?\bglobal_norm:? ?\[(?P<grad_norm>[\d.]+)\])?"
        ),
        zero_is_no_loss=True,
    ),
    LinePattern(
        "NeMo",
        _compiled(
            r"\blr: <learning_rate> \|.*\bglobal_step: <#step> \|.*\breduced_train_loss: <loss>"
            r"(?:.*\btrain_step_timing in s: <seconds>)?"
        ),
        notes=(COUNTS_FROM_ZERO,),
    ),
    LinePattern(
        "NeMo's progress bar",
        _compiled(
            r"\breduced_train_loss=<loss>,[^\]\r\n]*?\bglobal_step=<#step>(?:\.0*)?(?=[,\]])"
            r"(?:[^\]\r\n]*\btrain_step_timing in s=<seconds>)?"
        ),
        notes=(COUNTS_FROM_ZERO, "from 1000 on this bar rounds its steps: those lines are left out"),
    ),
    LinePattern(
        "DeepSpeed's pipeline",
        _compiled(r"\bsteps: <#step> loss: <loss> iter time \(s\): <seconds> samples/sec:"),
    ),
    LinePattern(
        "LitGPT",
        _compiled(r"\biter <#step> step \d+ \| loss train: <loss>,(?:.*\biter time: (?P<milliseconds>[\d.]+) ms)?"),
        notes=("its points are micro batches, not optimizer steps",),
    ),
    LinePattern(
        "LitGPT before 0.4",
        _compiled(r"\biter <#step> step \d+: loss <loss>,(?: (?:train|iter) time: (?P<milliseconds>[\d.]+) ?ms)?"),
        notes=("its points are micro batches, not optimizer steps",),
    ),
    LinePattern(
        "nanoGPT",
        _compiled(r"\biter <#step>: loss <loss>, time (?P<milliseconds>[\d.]+)ms"),
        notes=(COUNTS_FROM_ZERO,),
    ),
    LinePattern(
        "llm.c",
        _compiled(
            r"\bstep\s+<#step>/<#total> \| (?:train )?loss <loss>.*?\|(?: norm <grad_norm>[^|]*\|)?"
            r"(?: lr <learning_rate> \|)?.*?(?P<milliseconds>[\d.]+) ms"
        ),
    ),
    LinePattern(
        "llm.c of spring 2024",
        _compiled(r"\bstep\s+<#step>/<#total>: train loss <loss>(?:[^\r\n]*?\((?P<milliseconds>[\d.]+) ms)?"),
    ),
    LinePattern(
        "llm.c main.log",
        _compiled(r"^[ \t>]*s:<#step> trl:<loss>(?: lr:<learning_rate>)?(?: norm:<grad_norm>)?"),
        notes=(COUNTS_FROM_ZERO,),
    ),
    LinePattern(
        "modded-nanogpt",
        _compiled(r"\bstep:<#step>/<#total> (?:train_)?loss:<loss>(?:.*?\bstep_avg:(?P<milliseconds>[\d.]+)ms)?"),
    ),
)
