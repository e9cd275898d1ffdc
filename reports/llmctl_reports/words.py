"""The sentences of a report, English and Chinese."""

from __future__ import annotations

from llmctl_reports.chinese import translated
from llmctl_reports.formatting import percent, signed_percent
from llmctl_reports.profiles import Check, Verdict
from llmctl_reports.statistics import Bias
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
        "alignment": "What was compared",
        "seconds": "Seconds per step",
        "grad_norm": "Gradient norm",
        "figures": "All figures",
        "judged": "The profile judges only those among the checks.",
        "item": "item",
        "window": "steps per point",
        "axis_step": "step",
        "axis_samples": "samples",
        "axis_tokens": "tokens",
        "axis_loss": "loss",
        "axis_errors": "relative error (%)",
        "axis_seconds": "seconds",
        "axis_grad_norm": "gradient norm",
        "band": "within ±{} %",
        "smoothed": "Thin: as logged. Thick: exponential moving average, factor {}.",
        "said": "{name}: the trainer's {logged} {unit} and the {recomputed} {unit} of its {times} {judged}.",
        "step_times": "step times",
        "run_time": "run time",
        "own_words": "steps/s",
        "apart": "are more than 2 % apart",
        "agree": "agree within 2 %",
        "step_time": "{name}: a step takes {median} s in the median, {p95} s at the 95th percentile.",
        "ratio": "The run makes {ratio} times as many samples a second as the reference.",
        "warm_up": "The first {} steps are not drawn.",
        "thinned": "Drawn from about {} points a curve: the smallest and the largest value of each stretch.",
        "near_zero": "{} points with a reference near zero have no relative error.",
        "handling": "Drag to zoom, double click to see all, point at a curve to read its values.",
        "log_axis": "logarithmic",
        "reset": "whole range",
        "made_by": "Made by llmctl report. This page loads nothing from elsewhere.",
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
        "alignment": "对比的范围",
        "seconds": "单步时间",
        "grad_norm": "梯度范数",
        "figures": "全部指标",
        "judged": "只有检查项中的指标参与判定。",
        "item": "项目",
        "window": "每点步数",
        "axis_step": "步",
        "axis_samples": "样本数",
        "axis_tokens": "token数",
        "axis_loss": "loss",
        "axis_errors": "相对误差 (%)",
        "axis_seconds": "秒",
        "axis_grad_norm": "梯度范数",
        "band": "±{} %以内",
        "smoothed": "细线：日志原值。粗线：指数滑动平均，系数{}。",
        "said": "{name}：训练器自报的{logged} {unit}与按{times}计算的{recomputed} {unit}{judged}。",
        "step_times": "单步时间",
        "run_time": "总运行时间",
        "own_words": "其steps/s",
        "apart": "相差超过2 %",
        "agree": "相差在2 %以内",
        "step_time": "{name}：单步时间中位数{median}秒，95分位数{p95}秒。",
        "ratio": "本次训练每秒样本数为参考的{ratio}倍。",
        "warm_up": "前{}步未绘制。",
        "thinned": "每条曲线约取{}点绘制：保留每一段的最小值与最大值。",
        "near_zero": "参考loss接近零的{}个点不计相对误差。",
        "handling": "拖动可放大，双击恢复全部，指向曲线可读取数值。",
        "log_axis": "对数坐标",
        "reset": "全部范围",
        "made_by": "由llmctl report生成，本页不从外部加载任何内容。",
        "restart": "在第{step}步之后从第{from_step}步重新启动：{reason}",
    },
}

FIGURES = {
    "en": {
        "figure": "figure",
        "value": "value",
        "mean_left": "mean loss, run",
        "mean_right": "mean loss, reference",
        "mean_rel_error": "relative error of the mean loss",
        "mean_relative": "mean of the relative errors",
        "max_relative": "largest relative error (step {})",
        "p95": "95th percentile of the relative errors",
        "beyond": "points with a relative error beyond {} %",
        "max_absolute": "largest absolute error (step {})",
        "first": "relative error of the first common point",
        "tail": "relative error of the mean over the last tenth",
        "grad_norm": "mean relative error of the gradient norm",
    },
    "zh": {
        "figure": "指标",
        "value": "数值",
        "mean_left": "平均loss，本次训练",
        "mean_right": "平均loss，参考",
        "mean_rel_error": "平均loss的相对误差",
        "mean_relative": "相对误差的平均值",
        "max_relative": "最大相对误差（第{}步）",
        "p95": "相对误差的95分位数",
        "beyond": "相对误差超过{} %的点数",
        "max_absolute": "最大绝对误差（第{}步）",
        "first": "首个共同点的相对误差",
        "tail": "最后十分之一平均loss的相对误差",
        "grad_norm": "梯度范数的平均相对误差",
    },
}

REASONS = {
    "en": {
        "between": "; ",
        "basis": "{} common points, profile {}",
        "unknown": "{} is not known",
        "needed": "{} common points are needed",
        "interval": ", 95 % interval {} to {}",
        "limit": " (limit {})",
    },
    "zh": {
        "between": "；",
        "basis": "共同点{}个，判定标准{}",
        "unknown": "{}未知",
        "needed": "至少需要{}个共同点",
        "interval": "，95%置信区间 {} 至 {}",
        "limit": "（限值{}）",
    },
}

KEYS = {
    "en": {"step": "steps", "samples": "samples", "tokens": "tokens"},
    "zh": {"step": "步", "samples": "样本", "tokens": "token"},
}


def verdict_line(comparison: Comparison) -> str:
    """One line: the verdict, its profile, and the checks that brought it about."""
    return f"{comparison.verdict}: {_reasons(comparison, 'en')}"


def _reasons(comparison: Comparison, lang: str) -> str:
    wanted = [check for check in comparison.checks if check.result is comparison.verdict]
    shown = wanted[:1] if comparison.verdict is Verdict.PASS else wanted
    say, points = REASONS[lang], comparison.statistics.points
    told = [_told(comparison, check, lang) for check in shown]
    return say["between"].join([*told, say["basis"].format(points, comparison.profile)])


def conclusion(comparison: Comparison, lang: str) -> str:
    """The closing sentence of the accuracy section."""
    if lang == "en":
        return verdict_line(comparison)
    ends = {
        Verdict.PASS: "精度满足要求。",
        Verdict.FAIL: "精度不满足要求。",
        Verdict.INCONCLUSIVE: "现有数据不足以判断。",
    }
    return f"{comparison.verdict}：{ends[comparison.verdict]}{_reasons(comparison, lang)}"


def _told(comparison: Comparison, check: Check, lang: str) -> str:
    say, name = REASONS[lang], translated(check.name, lang)
    if check.value is None:
        return say["unknown"].format(name)
    if check.name == "common points":
        return say["needed"].format(f"{check.limit:g}")
    text = f"{name} {amount(check.name, check.value)}"
    if check.name.startswith("bias"):
        text += interval(comparison.statistics.gated_bias, lang)
    return text + say["limit"].format(limit(check))


def limit(check: Check) -> str:
    """The limit of a check as a person writes it."""
    text = amount(check.name, check.limit)
    return "±" + text.lstrip("+") if check.name.startswith("bias") else text


def bias_line(comparison: Comparison, lang: str) -> str:
    """The signed difference of the means with its interval."""
    bias = comparison.statistics.bias
    if bias.mean is None:
        return ""
    head = "Bias of the mean loss" if lang == "en" else "平均loss的偏差"
    return f"{head}: {signed_percent(bias.mean)}{interval(bias, lang)}"


def interval(bias: Bias, lang: str) -> str:
    """The interval of a bias, to be set behind it; empty where there is none."""
    if bias.low is None or bias.high is None:
        return ""
    return REASONS[lang]["interval"].format(signed_percent(bias.low), signed_percent(bias.high))


def restart_line(restart: Restart, lang: str) -> str:
    """When and why a run was started again."""
    reason = restart.reason + (f" ({restart.node})" if restart.node else "")
    step = "-" if restart.step is None else restart.step
    return WORDS[lang]["restart"].format(from_step=restart.from_step, step=step, reason=reason)


def noise_line(comparison: Comparison, lang: str) -> str:
    """The run's error in units of the reference's own; empty when that was not measured."""
    noise = comparison.noise
    if noise is None:
        return ""
    ratio = "-" if noise.ratio is None else f"{noise.ratio:.2g}"
    if lang == "zh":
        return f"参考自身的波动（{len(noise.sources)}次重复）：平均绝对误差{noise.abs_error:.3g}；误差/波动 = {ratio}"
    repeats = f"{len(noise.sources)} further run{'s' if len(noise.sources) > 1 else ''}"
    return f"Noise of the reference, {repeats}: mean absolute error {noise.abs_error:.3g}; error / noise = {ratio}"


def alignment_line(comparison: Comparison, lang: str) -> str:
    """What was compared, and what was left out."""
    found, near = comparison.alignment, comparison.statistics.near_zero
    unit = KEYS[lang].get(found.key or "", "-")
    some = {"en": "usually ", "zh": "通常"}[lang] if found.key == "tokens" else ""
    if lang == "zh":
        text = f"按{unit}对齐：共同点{found.places.size}个，仅本次{found.only_left}个，仅参考{found.only_right}个"
        text += f"；每点{some}为{found.window}{unit}的平均" if found.window > 1 else ""
        return text + (f"；参考loss接近零的{near}个点不计相对误差" if near else "") + "。"
    text = f"Aligned by {unit}: {found.places.size} common points, {found.only_left} only in the run, "
    text += f"{found.only_right} only in the reference"
    text += f"; a point is {some}the mean over {found.window} {unit}" if found.window > 1 else ""
    return text + (f"; {near} points with a reference near zero have no relative error" if near else "") + "."


def amount(name: str, value: float) -> str:
    """The value or limit of a check of that name."""
    if name.startswith("bias"):
        return signed_percent(value)
    return percent(value) if "relative" in name and "points" not in name else f"{value:.4g}"
