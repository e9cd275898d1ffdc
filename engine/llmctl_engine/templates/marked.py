"""Templates that mark their roles with special tokens: Baichuan, Yuan, ChatGLM, Qwen, Llama 3 and those like them.
Standard library only. Sources as in `plain`."""

from __future__ import annotations

from dataclasses import replace

from llmctl_engine.templates.form import BOS, EOS, Part, Template, Token

_HELPFUL = "You are a helpful assistant."


def _lf02(user: tuple[Part, ...], separator: tuple[Part, ...] = (), *, answer: tuple[Part, ...] = ("{}",)) -> Template:
    """v0.2.0: as in `plain`, all but Ziya with efficient EOS."""
    return Template(
        user=user,
        answer=answer,
        system=("{}", *separator),
        start=(BOS,),
        between=(*separator, BOS),
        efficient_eos=EOS not in answer,
        bos_as_tokenizer=True,
        cutoff_rule="lf02",
    )


def _lf05(template: Template) -> Template:
    """v0.5.0 from v0.2.0: no BOS, no separator after the system text."""
    return replace(
        template,
        system=("{}",),
        start=(),
        between=template.between[:-1],
        bos_as_tokenizer=False,
        tools="action@0.5.0",
        cutoff_rule="lf05",
    )


_BAICHUAN = _lf02((Token("<reserved_102>"), "{}", Token("<reserved_103>")))
_BAICHUAN2 = _lf02((Token("<reserved_106>"), "{}", Token("<reserved_107>")))
_INTERN = replace(_lf02(("<|User|>:{}", Token("<eoh>"), "\n<|Bot|>:"), (Token("<eoa>"), "\n")), stop=("<eoa>",))
_ZIYA = _lf02((Token("<human>"), ":{}\n", Token("<bot>"), ":"), ("\n",), answer=("{}", EOS))
_CHATGLM2 = replace(
    _lf02(("[Round {n}]\n\n问：{}\n\n答：",), ("\n\n",)),
    system=(Token("[gMASK]"), Token("sop"), "{}", "\n\n"),
    force_system=True,
)
_CHATGLM3 = Template(
    user=(Token("<|user|>"), "\n", "{}", Token("<|assistant|>")),
    answer=("\n", "{}"),
    function=("{}",),
    stop=("<|user|>", "<|observation|>"),
    efficient_eos=True,
)
_IM_USER = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
_IM_SYSTEM = "<|im_start|>system\n{}<|im_end|>\n"
_CHATML_0_6_0 = Template(
    user=(_IM_USER,),
    system=(_IM_SYSTEM,),
    between=("\n",),
    stop=("<|im_end|>", "<|im_start|>"),
    replace_eos=True,
    tools="action@0.6.0",
    cutoff_rule="lf06",
)


def _llama3_header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


MARKED: dict[str, Template] = {
    "baichuan@0.2.0": _BAICHUAN,
    "baichuan@0.5.0": _lf05(_BAICHUAN),
    "baichuan2@0.2.0": _BAICHUAN2,
    "baichuan2@0.5.0": _lf05(_BAICHUAN2),
    "chatglm2@0.2.0": _CHATGLM2,
    "chatglm2@0.5.0": replace(_lf05(_CHATGLM2), system=(Token("[gMASK]"), Token("sop"), "{}")),
    "chatglm3@0.5.0": replace(
        _CHATGLM3,
        system=(Token("[gMASK]"), Token("sop"), Token("<|system|>"), "\n", "{}"),
        default_system="You are ChatGLM3, a large language model trained by Zhipu.AI. "
        "Follow the user's instructions carefully. Respond using markdown.",
        observation=(Token("<|observation|>"), "\n", "{}"),
        tools="chatglm3@0.5.0",
        cutoff_rule="lf05",
    ),
    "chatglm3@0.9.5": replace(
        _CHATGLM3,
        system=(Token("<|system|>"), "\n", "{}"),
        start=(Token("[gMASK]"), Token("sop")),
        observation=(Token("<|observation|>"), "\n", "{}", Token("<|assistant|>")),
        tools="glm4@0.9.5",
    ),
    "qwen@0.5.0": replace(
        _CHATML_0_6_0,
        stop=("<|im_end|>",),
        tokens=("<|im_start|>",),
        default_system=_HELPFUL,
        tools="action@0.5.0",
        cutoff_rule="lf05",
    ),
    "qwen@0.9.5": Template(
        user=(_IM_USER,),
        answer=("{}<|im_end|>\n",),
        system=(_IM_SYSTEM,),
        observation=("<|im_start|>user\n<tool_response>\n{}\n</tool_response><|im_end|>\n<|im_start|>assistant\n",),
        default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
        stop=("<|im_end|>",),
        tokens=("<|im_start|>",),
        replace_eos=True,
        tools="qwen@0.9.5",
    ),
    "chatml@0.2.0": replace(
        _lf02(
            (Token("<|im_start|>"), "user\n{}", Token("<|im_end|>"), "\n", Token("<|im_start|>"), "assistant\n"),
            (Token("<|im_end|>"), "\n"),
        ),
        system=(Token("<|im_start|>"), "system\n{}", Token("<|im_end|>"), "\n"),
        default_system=_HELPFUL,
        stop=("<|im_end|>",),
    ),
    "chatml@0.6.0": _CHATML_0_6_0,
    "chatml@0.9.5": replace(
        _CHATML_0_6_0,
        answer=("{}<|im_end|>\n",),
        observation=("<|im_start|>tool\n{}<|im_end|>\n<|im_start|>assistant\n",),
        between=(),
        tools="action@0.9.5",
        cutoff_rule="lf09",
    ),
    "yuan@0.5.0": Template(
        user=("{}", Token("<sep>")),
        between=("\n",),
        stop=("<eod>",),
        replace_eos=True,
        tools="action@0.5.0",
        cutoff_rule="lf05",
    ),
    "yuan@0.9.5": Template(user=("{}", Token("<sep>")), answer=("{}<eod>\n",), stop=("<eod>",), tools="action@0.9.5"),
    "intern@0.2.0": _INTERN,
    "intern@0.5.0": _lf05(_INTERN),
    "ziya@0.2.0": _ZIYA,
    "ziya@0.5.0": _lf05(_ZIYA),
    "starchat@0.2.0": replace(
        _lf02((Token("<|user|>"), "\n{}", Token("<|end|>"), "\n", Token("<|assistant|>")), (Token("<|end|>"), "\n")),
        system=(Token("<|system|>"), "\n{}", Token("<|end|>"), "\n"),
        force_system=True,
        stop=("<|end|>",),
    ),
    "llama3@0.9.5": Template(
        user=(f"{_llama3_header('user')}{{}}<|eot_id|>{_llama3_header('assistant')}",),
        answer=("{}<|eot_id|>",),
        system=(f"{_llama3_header('system')}{{}}<|eot_id|>",),
        observation=(f"{_llama3_header('ipython')}{{}}<|eot_id|>{_llama3_header('assistant')}",),
        start=(BOS,),
        stop=("<|eot_id|>", "<|eom_id|>"),
        tokens=("<|start_header_id|>", "<|end_header_id|>"),
        replace_eos=True,
        tools="llama3@0.9.5",
    ),
}
"""`name@version` -> template."""
