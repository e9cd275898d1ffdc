"""The sentence that tells a failing comparison's kind and what to look at next."""

from __future__ import annotations

from llmctl_reports.diagnosis import BEYOND, Diagnosis, Kind
from llmctl_reports.formatting import percent
from llmctl_reports.statistics import Statistics
from llmctl_reports.verdict import Comparison

SHOWN = 5
"""Steps of spikes that are named."""

SUSPECTS = {
    Kind.FIRST_STEP: ("model", "stage", "method", "precision", "seed"),
    Kind.DRIFT: ("learning_rate", "scheduler", "global_batch", "precision", "method", "seed"),
    Kind.SPIKES: ("precision", "seed"),
}
"""What the logs tell of their runs and explains such a difference."""

LOOK_AT = {
    "en": {
        Kind.FIRST_STEP: (
            "order and masking of the data",
            "weights and tokenizer",
            "precision of the first forward pass",
            "dropout",
        ),
        Kind.DRIFT: (
            "learning rate and its schedule",
            "global batch",
            "optimizer (epsilon, betas, weight decay)",
            "gradient clipping",
            "dropout",
            "precision of the optimizer's states",
        ),
        Kind.SPIKES: ("samples of these steps", "gradient clipping and loss scale", "hardware errors on the nodes"),
    },
    "zh": {
        Kind.FIRST_STEP: ("数据顺序与掩码", "权重与分词器", "首次前向的精度", "dropout"),
        Kind.DRIFT: (
            "学习率及其调度",
            "全局批大小",
            "优化器（epsilon、beta、权重衰减）",
            "梯度裁剪",
            "dropout",
            "优化器状态的精度",
        ),
        Kind.SPIKES: ("这些步的样本", "梯度裁剪与loss scale", "节点的硬件错误"),
    },
}

SAY = {
    "en": {
        Kind.FIRST_STEP: "First-step difference: {first} at the first step already, before any update.",
        Kind.DRIFT: "Long-run drift: {opening}, {since}, {tail} over the last tenth.",
        Kind.SPIKES: "Spikes: {count} of {points} points carry {share} of the error (steps {steps}).",
        "agrees": "the first step agrees",
        "unknown": "the first common point is not the first step alone",
        "since": "errors beyond {limit} begin at step {step}",
        "small": "no error exceeds {limit}",
        "scatter": " The errors have no common sign, as with another order of the data: --noise measures that.",
        "suspects": " The logs differ in {}.",
        "look": " Look next at: {}.",
        "comma": ", ",
        "more": ", ...",
    },
    "zh": {
        Kind.FIRST_STEP: "首步差异：首步（尚未更新参数）即相差{first}。",
        Kind.DRIFT: "长期漂移：{opening}，{since}，最后十分之一相差{tail}。",
        Kind.SPIKES: "尖峰：{points}个点中的{count}个占误差的{share}（第{steps}步）。",
        "agrees": "首步一致",
        "unknown": "首个共同点不是单独的首步",
        "since": "第{step}步首次超过{limit}",
        "small": "没有误差超过{limit}",
        "scatter": "误差没有一致的符号，数据顺序不同即可如此：可用--noise衡量。",
        "suspects": "两份日志的{}不同。",
        "look": "建议接着检查：{}。",
        "comma": "、",
        "more": "……",
    },
}


def look_at(diagnosis: Diagnosis, lang: str) -> tuple[str, ...]:
    """What is likely to explain it, the likeliest first."""
    return LOOK_AT[lang][diagnosis.kind]


def diagnosis_line(comparison: Comparison, lang: str) -> str:
    """The kind of the difference, what tells so, and what to look at next; empty when no gate fails."""
    found = comparison.diagnosis
    if found is None:
        return ""
    say, numbers = SAY[lang], comparison.statistics
    limit = f"{100 * BEYOND:g} %"
    since = say["small"] if found.since_step is None else say["since"]
    steps = say["comma"].join(str(step) for step in found.spike_steps[:SHOWN])
    text = say[found.kind].format(
        first=_first(numbers),
        opening=say["agrees" if found.first_step else "unknown"],
        since=since.format(limit=limit, step=found.since_step),
        tail=percent(numbers.tail_rel_error),
        count=found.spikes,
        points=numbers.points,
        share=f"{100 * found.spike_share:.0f} %",
        steps=steps + (say["more"] if found.spikes > SHOWN else ""),
    )
    bias = numbers.bias
    if found.kind is Kind.DRIFT and bias.low is not None and bias.high is not None and bias.low <= 0 <= bias.high:
        text += say["scatter"]
    known = [name for name in SUSPECTS[found.kind] if name in comparison.alignment.differences]
    text += say["suspects"].format(say["comma"].join(known)) if known else ""
    return text + say["look"].format(say["comma"].join(look_at(found, lang)))


def _first(numbers: Statistics) -> str:
    if numbers.first_rel_error is None:
        return f"{numbers.first_abs_error:.3g}"
    return percent(numbers.first_rel_error)
