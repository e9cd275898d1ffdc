"""The sentences of a report, English and Chinese."""

from __future__ import annotations

from llmctl_reports.profiles import Check, Verdict
from llmctl_reports.values import Restart
from llmctl_reports.verdict import Comparison

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
        "restart": "started again from step {from_step} after step {step}: {reason}",
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
        "restart": "在第{step}步之后从第{from_step}步重新启动：{reason}",
    },
}

KEYS = {"en": {"step": "steps", "samples": "samples"}, "zh": {"step": "步", "samples": "样本"}}


def verdict_line(comparison: Comparison) -> str:
    """One line: the verdict, its profile, and the checks that brought it about."""
    wanted = [check for check in comparison.checks if check.result is comparison.verdict]
    shown = wanted[:1] if comparison.verdict is Verdict.PASS else wanted
    told = "; ".join(_told(comparison, check) for check in shown)
    points = comparison.statistics.points
    return f"{comparison.verdict}: {told}; {points} common points, profile {comparison.profile}"


def conclusion(comparison: Comparison, lang: str) -> str:
    """The closing sentence of the accuracy section."""
    if lang == "en":
        return f"**{verdict_line(comparison)}**"
    ends = {
        Verdict.PASS: "精度满足要求。",
        Verdict.FAIL: "精度不满足要求。",
        Verdict.INCONCLUSIVE: "现有数据不足以判断。",
    }
    told = verdict_line(comparison).removeprefix(f"{comparison.verdict}: ")
    return f"**{comparison.verdict}：{ends[comparison.verdict]}{told}**"


def _told(comparison: Comparison, check: Check) -> str:
    if check.value is None:
        return f"{check.name} is not known"
    if check.name == "common points":
        return f"{check.limit:g} common points are needed"
    text = f"{check.name} {_amount(check.name, check.value)}"
    bias = comparison.statistics.gated_bias
    if check.name.startswith("bias") and bias.low is not None and bias.high is not None:
        text += f", 95 % interval {_signed(bias.low)} to {_signed(bias.high)}"
    limit = "±" + _amount(check.name, check.limit).lstrip("+") if check.name.startswith("bias") else ""
    return f"{text} (limit {limit or _amount(check.name, check.limit)})"


def bias_line(comparison: Comparison, lang: str) -> str:
    """The signed difference of the means with its interval."""
    bias = comparison.statistics.bias
    if bias.mean is None:
        return ""
    interval = ""
    if bias.low is not None and bias.high is not None:
        low, high = _signed(bias.low), _signed(bias.high)
        interval = f", 95 % interval {low} to {high}" if lang == "en" else f"，95%置信区间 {low} 至 {high}"
    head = "Bias of the mean loss" if lang == "en" else "平均loss的偏差"
    return f"{head}: {_signed(bias.mean)}{interval}"


def restart_line(restart: Restart, lang: str) -> str:
    """When and why a run was started again."""
    reason = restart.reason + (f" ({restart.node})" if restart.node else "")
    step = "-" if restart.step is None else restart.step
    return WORDS[lang]["restart"].format(from_step=restart.from_step, step=step, reason=reason)


def alignment_line(comparison: Comparison, lang: str) -> str:
    """What was compared, and what was left out."""
    found, near = comparison.alignment, comparison.statistics.near_zero
    unit = KEYS[lang].get(found.key or "", "-")
    if lang == "zh":
        text = f"按{unit}对齐：共同点{found.places.size}个，仅本次{found.only_left}个，仅参考{found.only_right}个"
        text += f"；每点为{found.window}{unit}的平均" if found.window > 1 else ""
        return text + (f"；参考loss接近零的{near}个点不计相对误差" if near else "") + "。"
    text = f"Aligned by {unit}: {found.places.size} common points, {found.only_left} only in the run, "
    text += f"{found.only_right} only in the reference"
    text += f"; a point is the mean over {found.window} {unit}" if found.window > 1 else ""
    return text + (f"; {near} points with a reference near zero have no relative error" if near else "") + "."


def _signed(share: float) -> str:
    """A signed percentage of three significant digits: small is told as small, not as zero."""
    return f"{100 * share:+.3g} %"


def _amount(name: str, value: float) -> str:
    if name.startswith("bias"):
        return _signed(value)
    return f"{100 * value:.3g} %" if "relative" in name and "points" not in name else f"{value:.4g}"
