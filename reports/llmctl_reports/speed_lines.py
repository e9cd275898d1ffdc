"""What a report says below its table of throughput."""

from __future__ import annotations

from llmctl_reports.chinese import translated
from llmctl_reports.throughput import OWN_WORDS, RUN_TIME, Said, Throughput, ratio, said, throughput
from llmctl_reports.values import RunLog
from llmctl_reports.words import WORDS


def speed_lines(run: RunLog, reference: RunLog | None, lang: str) -> list[str]:
    """What the figures were computed from, how the step times spread, what the trainer itself says, and the ratio."""
    say, lines = WORDS[lang], []
    for key, log in (("run", run), ("reference", reference)):
        if log is not None:
            found, name = throughput(log), say[key]
            lines.append(_basis(name, found, lang))
            if found.median_seconds is not None and found.p95_seconds is not None:
                times = {"median": f"{found.median_seconds:.4g}", "p95": f"{found.p95_seconds:.4g}"}
                lines.append(say["step_time"].format(name=name, **times))
            lines += [_said(name, each, lang) for each in said(log)]
    made = ratio(run, reference) if reference is not None else None
    return [*lines, say["ratio"].format(ratio=f"{made:.4g}")] if made else lines


def speed_warnings(run: RunLog, reference: RunLog | None, lang: str) -> list[str]:
    """What the trainers say and their times contradict."""
    logs = (("run", run), ("reference", reference))
    return [
        _said(WORDS[lang][key], each, lang) for key, log in logs if log is not None for each in said(log) if each.apart
    ]


def _said(name: str, each: Said, lang: str) -> str:
    say = WORDS[lang]
    return say["said"].format(
        name=name,
        unit=each.unit,
        logged=f"{each.logged:.4g}",
        recomputed=f"{each.recomputed:.4g}",
        times=say[{RUN_TIME: "run_time", OWN_WORDS: "own_words"}.get(each.basis, "step_times")],
        judged=say["apart" if each.apart else "agree"],
    )


def _basis(name: str, found: Throughput, lang: str) -> str:
    if found.basis == "not logged":
        return f"{name}: the log has no times." if lang == "en" else f"{name}：日志中没有时间。"
    told = [translated(each, lang) for each in (found.basis, found.tokens_basis) if each]
    return f"{name}: computed from {'; '.join(told)}." if lang == "en" else f"{name}：由{'；'.join(told)}计算。"
