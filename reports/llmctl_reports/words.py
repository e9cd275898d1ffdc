"""The sentences of a report, English and Chinese."""

from __future__ import annotations

from llmctl_reports.verdict import Comparison, Verdict

WORDS = {
    "en": {
        "title": "Training report",
        "results": "Training results",
        "speed": "Throughput",
        "accuracy": "Loss against the reference",
        "checks": "Checks",
        "sources": "Sources",
        "curve": "Loss",
        "errors": "Relative error",
        "check": "check",
        "value": "value",
        "limit": "limit",
        "source": "source of the limit",
        "result": "result",
        "log": "log",
        "format": "format",
        "points": "points",
        "first": "first loss (step)",
        "last": "last loss (step)",
        "dropped": "dropped",
        "run": "run",
        "reference": "reference",
        "none": "none",
        "differences": "The two runs differ in",
        "allowed": "started in spite of",
    },
    "zh": {
        "title": "训练报告",
        "results": "训练结果展示",
        "speed": "吞吐",
        "accuracy": "与参考的loss对比",
        "checks": "检查项",
        "sources": "数据来源",
        "curve": "loss曲线",
        "errors": "相对误差",
        "check": "检查项",
        "value": "数值",
        "limit": "限值",
        "source": "限值来源",
        "result": "结果",
        "log": "日志",
        "format": "格式",
        "points": "点数",
        "first": "首个loss（步）",
        "last": "末个loss（步）",
        "dropped": "舍弃",
        "run": "本次训练",
        "reference": "参考",
        "none": "无",
        "differences": "两次训练的不同之处",
        "allowed": "启动时被放行的环境差异",
    },
}


def verdict_line(comparison: Comparison) -> str:
    """One line: the verdict, the number that decides and its limit, and what hinders a judgement."""
    gate = comparison.checks[0]
    value = "unknown" if gate.value is None else _amount(gate.name, gate.value)
    line = f"{comparison.verdict}: {gate.name} {value} (limit {_amount(gate.name, gate.limit)})"
    line += f" over {comparison.statistics.points} common points"
    why = [
        f"{check.name}: {check.value:g}, needed {check.limit:g}"
        for check in comparison.checks[1:]
        if check.result is not Verdict.PASS and check.value is not None
    ]
    return f"{line}; {'; '.join(why)}" if why else line


def conclusion(comparison: Comparison, lang: str) -> str:
    """The closing sentence of the accuracy section."""
    gate = comparison.checks[0]
    value = "-" if gate.value is None else _amount(gate.name, gate.value)
    if lang == "en":
        return f"**{verdict_line(comparison)}**"
    limit = _amount(gate.name, gate.limit)
    name = "平均损失的相对误差" if "relative" in gate.name else "平均绝对误差"
    ends = {
        Verdict.PASS: f"{name}{value}，小于{limit}。精度满足要求。",
        Verdict.FAIL: f"{name}{value}，限值{limit}。精度不满足要求。",
        Verdict.INCONCLUSIVE: f"{name}{value}，限值{limit}。现有数据不足以判断。",
    }
    return f"**{comparison.verdict}：{ends[comparison.verdict]}**"


def bias_line(comparison: Comparison, lang: str) -> str:
    """The signed difference of the means with its interval."""
    numbers = comparison.statistics
    if numbers.bias is None:
        return ""
    interval = ""
    if numbers.bias_low is not None and numbers.bias_high is not None:
        low, high = _signed(numbers.bias_low), _signed(numbers.bias_high)
        interval = f", 95 % interval {low} to {high}" if lang == "en" else f"，95%置信区间 {low} 至 {high}"
    head = "Bias of the mean loss" if lang == "en" else "平均loss的偏差"
    return f"{head}: {_signed(numbers.bias)}{interval}"


def alignment_line(comparison: Comparison, lang: str) -> str:
    """What was compared, and what was left out."""
    found, numbers = comparison.alignment, comparison.statistics
    if lang == "zh":
        text = f"按步对齐：共同点{len(found.steps)}个，仅本次{found.only_left}个，仅参考{found.only_right}个"
        text += f"；每点为{found.window}步的平均" if found.window > 1 else ""
        return text + (f"；参考loss接近零的{numbers.near_zero}个点不计相对误差" if numbers.near_zero else "") + "。"
    text = f"Aligned by step: {len(found.steps)} common points, {found.only_left} only in the run, "
    text += f"{found.only_right} only in the reference"
    text += f"; a point is the mean over {found.window} steps" if found.window > 1 else ""
    text += (
        f"; {numbers.near_zero} points with a reference near zero have no relative error" if numbers.near_zero else ""
    )
    return text + "."


def _signed(share: float) -> str:
    """A signed percentage of three significant digits: small is told as small, not as zero."""
    return f"{100 * share:+.3g} %"


def _amount(name: str, value: float) -> str:
    return f"{100 * value:.3g} %" if "relative" in name else f"{value:.4g}"
