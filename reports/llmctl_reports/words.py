"""What stands in a report, in English and Chinese."""

from __future__ import annotations

LANGUAGES = ("en", "zh")

WORDS: dict[str, tuple[str, str]] = {
    "title": ("Training report", "训练报告"),
    "verdict": ("Verdict", "结论"),
    "alignment": ("Alignment", "对齐"),
    "results": ("Training results", "训练结果展示"),
    "accuracy": ("Loss against the reference", "Loss 精度对比"),
    "throughput": ("Throughput", "吞吐"),
    "checks": ("Checks", "检查项"),
    "settings": ("Settings that differ", "配置差异"),
    "pictures": ("Curves", "曲线"),
    "device": ("Device", "设备"),
    "epochs": ("total epochs", "总轮数"),
    "train_loss": ("train loss", "训练损失"),
    "samples_rate": ("train samples per second", "每秒训练样本数"),
    "steps_rate": ("train steps per second", "每秒训练步数"),
    "model": ("model", "模型"),
    "iterations": ("iterations", "迭代数"),
    "samples": ("samples throughput (samples/s)", "样本吞吐 (samples/s)"),
    "tokens": ("tokens throughput (tokens/s/p)", "tokens吞吐 (tokens/s/p)"),
    "step_time": ("time per step (s/step)", "单步迭代时间 (s/step)"),
    "reference": ("Reference", "参考"),
    "run": ("Run", "本次"),
    "absolute": ("absolute error: max {max}, mean {mean}", "绝对误差：最大值{max}，平均值{mean}"),
    "relative": ("relative error: max {max}, mean {mean}", "相对误差：最大值{max}，平均值{mean}"),
    "at_step": (" (max at step {step})", "（最大值在第 {step} 步）"),
    "mean_loss": (
        "relative error of the mean loss {value}, limit 2%: {result}",
        "平均损失的相对误差 {value}，限值 2%：{result}",
    ),
    "bias": (
        "bias (signed mean error by mean reference): {mean}, 95% interval {low} to {high}",
        "偏差（带符号平均误差/参考平均值）：{mean}，95% 区间 {low} 至 {high}",
    ),
    "near_zero": (
        "{points} points with a reference loss below 0.05 are left out of the relative error; their mean absolute "
        "error is {error}",
        "参考 loss 低于 0.05 的 {points} 个点不计入相对误差，其平均绝对误差为 {error}",
    ),
    "check": ("check", "检查项"),
    "value": ("value", "数值"),
    "limit": ("limit", "限值"),
    "source": ("source of the limit", "限值来源"),
    "result": ("result", "结果"),
    "side": ("side", "一方"),
    "log": ("log", "日志"),
    "points": ("points", "点数"),
    "alone": ("without partner", "无对应"),
    "window": ("steps a point", "每点步数"),
    "dropped": ("left out", "已剔除"),
    "common": ("{common} common points, joined by {key}", "共 {common} 个公共点，按 {key} 对齐"),
    "setting": ("setting", "配置项"),
    "speed_basis": (
        "s/step is the mean wall time of an optimizer step ({basis}); the other columns follow from it. tokens/s/p is "
        "cut to whole tokens.",
        "s/step 为优化器单步平均墙钟时间（{basis}），其余各列由其推出；tokens/s/p 取整数部分。",
    ),
    "no_reference": ("No reference was given.", "未给出参考日志。"),
}


def word(key: str, language: str, **values: object) -> str:
    """A text in `en` or `zh`, its places filled."""
    return WORDS[key][LANGUAGES.index(language)].format(**values)
