"""Chinese for what values, checks and logs say in English: their texts are part of the JSON, so they are translated
only where a person reads them."""

from __future__ import annotations

import re

PHRASES = {
    "bias of the mean loss": "平均loss的偏差",
    "common points": "共同点数",
    "non-finite losses of the run": "本次训练中非有限的loss数",
    "non-finite losses of the reference": "参考中非有限的loss数",
    "error of the first loss, relative or absolute": "首个loss的相对或绝对误差",
    "mean error of the losses, relative or absolute": "loss的平均相对或绝对误差",
    "mean relative error of the gradient norm": "梯度范数的平均相对误差",
    "largest relative error of a loss": "单点loss的最大相对误差",
    "points with a relative error beyond 5 %": "相对误差超过5 %的点数",
    "points that are not equal": "不相等的点数",
    "points that only one log has": "仅一方日志有的点数",
    "ModelZoo's reports: the mean loss within 2 %": "ModelZoo报告：平均loss误差在2 %以内",
    "MindFormers, precision optimisation guide": "MindFormers精度调优指南",
    "MindSpeed-LLM, system tests": "MindSpeed-LLM系统测试",
    "Megatron-LM, functional tests": "Megatron-LM功能测试",
    "non-finite loss": "非有限的loss",
    "skipped iteration": "被跳过的迭代",
    "superseded after a resume": "续训后被替代",
    "repeated line": "重复行",
    "repeated line with another loss": "loss不同的重复行",
    "unreadable line": "无法读取的行",
    "loss of 0 that was not measured": "未测得的零loss",
    "this log holds no losses, only the metrics of its end": "该日志没有loss，只有结束时的指标",
    "step times, warm-up included": "单步时间（含预热）",
    "the whole run time, everything included": "总运行时间（含全部开销）",
    "the trainer's steps per second": "训练器输出的steps/s",
    "tokens as logged": "日志中每步的token数",
    "the log's count of tokens": "日志中的累计token数",
    "global batch x sequence length": "全局批大小x序列长度",
    "the global batch of the run is not in the log: taken to be equal": "本次训练的日志中没有全局批大小：视为相同",
    "the global batch of the reference is not in the log: taken to be equal": "参考的日志中没有全局批大小：视为相同",
    "the global batch of the run and the reference is not in the log: taken to be equal": (
        "两份日志中都没有全局批大小：视为相同"
    ),
    "the global batch of the run is not in the log, the tokens of a step differ: compared at equal tokens": (
        "本次训练的日志中没有全局批大小，且每步token数不同：按相同token数对比"
    ),
    "the global batch of the reference is not in the log, the tokens of a step differ: compared at equal tokens": (
        "参考的日志中没有全局批大小，且每步token数不同：按相同token数对比"
    ),
    "the global batch of the run and the reference is not in the log, the tokens of a step differ: compared at equal "
    "tokens": "两份日志中都没有全局批大小，且每步token数不同：按相同token数对比",
    "the global batch changes within this log": "该日志中全局批大小有变化",
}
PATTERNS = (
    (
        r"(\d+) segments: where a step was done twice, the later segment counts \(--segment N takes one alone\)",
        r"共\1段：重复执行的步以后一段为准（--segment N只取其中一段）",
    ),
    (r"DeepSpeed's own lines, up to step (\d+), hold no loss", r"DeepSpeed自身的日志行（至第\1步）不含loss"),
    (r"of (\d+) columns of losses the first was read: (.+)", r"共\1列loss，读取第一列：\2"),
    (r"segment (\d+) of (\d+)", r"第\1段，共\2段"),
    (r"step times without the first (\d+) steps", r"单步时间（不含前\1步）"),
    (r"mean absolute error where the reference is below ([\d.]+)", r"参考loss低于\1处的平均绝对误差"),
    (r"share of points with a reference below ([\d.]+)", r"参考loss低于\1的点所占比例"),
    (
        r"the global batches differ \((\d+) and (\d+)\): compared at equal samples",
        r"全局批大小不同（\1与\2）：按相同样本数对比",
    ),
    (
        r"the global batches differ \((\d+) and (\d+)\) and change within a log: compared at equal tokens",
        r"全局批大小不同（\1与\2）且在日志中有变化：按相同token数对比",
    ),
    (
        r"the global batch changes within a log, the tokens of a step differ: compared at equal tokens",
        r"全局批大小在日志中有变化，且每步token数不同：按相同token数对比",
    ),
    (
        r"the global batches differ \((\d+) and (\d+)\) and change within a log: nothing to align by",
        r"全局批大小不同（\1与\2）且在日志中有变化：无从对齐",
    ),
)


def translated(text: str, lang: str) -> str:
    """The text in a language; as it is where nobody has translated it."""
    if lang != "zh":
        return text
    for side, name in (("run: ", "本次训练："), ("reference: ", "参考：")):
        if text.startswith(side):
            return name + translated(text.removeprefix(side), lang)
    if text in PHRASES:
        return PHRASES[text]
    for pattern, chinese in PATTERNS:
        if found := re.fullmatch(pattern, text):
            return found.expand(chinese)
    return text
