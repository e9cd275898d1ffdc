"""Templates that write their roles in words: default, alpaca, Llama 2 and those like them. Standard library only.

Sources: LLaMA-Factory at the tags v0.2.0 (src/llmtuner/extras/template.py), v0.5.0 and v0.9.0 (data/template.py of the
package), v0.9.5 (the same). A version names the release whose token ids the template gives; commit b988ce0 (February
2024) writes what v0.5.0 writes, but for tools."""

from __future__ import annotations

from dataclasses import replace

from llmctl_engine.templates.form import BOS, EOS, Template

_CURIOUS_USER = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_CURIOUS_HUMAN = _CURIOUS_USER.replace("user", "human")
_ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
_LLAMA2 = (
    "You are a helpful, respectful and honest assistant. "
    "Always answer as helpfully as possible, while being safe.  "
    "Your answers should not include any harmful, unethical, "
    "racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, "
    "explain why instead of answering something not correct. "
    "If you don't know the answer to a question, please don't share false information."
)
_LLAMA2_ZH = "You are a helpful assistant. 你是一个乐于助人的助手。"


def _lf02(user: str, separator: str = "", system: str = "", *, efficient_eos: bool = False) -> Template:
    """v0.2.0: BOS, system and separator before the first turn, separator and BOS before each later one."""
    parts = (separator,) if separator else ()
    return Template(
        user=(user,),
        answer=("{}",) if efficient_eos else ("{}", EOS),
        system=("{}", *parts),
        default_system=system,
        start=(BOS,),
        between=(*parts, BOS),
        efficient_eos=efficient_eos,
        bos_as_tokenizer=True,
        cutoff_rule="lf02",
    )


def _lf05(user: str, separator: str = "", system: str = "") -> Template:
    """v0.5.0: no BOS, the system text without a separator."""
    return Template(
        user=(user,),
        default_system=system,
        between=(separator,) if separator else (),
        tools="action@0.5.0",
        cutoff_rule="lf05",
    )


_LLAMA2_0_2_0 = replace(
    _lf02("[INST] {} [/INST] ", system=_LLAMA2), system=("<<SYS>>\n{}\n<</SYS>>\n\n",), system_in_query=True
)
_LLAMA2_0_9_5 = Template(
    user=(BOS, "[INST] {} [/INST]"),
    system=("<<SYS>>\n{}\n<</SYS>>\n\n",),
    system_in_query=True,
    tools="action@0.9.5",
)
_LLAMA2_0_5_0 = replace(_LLAMA2_0_9_5, tools="action@0.5.0", cutoff_rule="lf05")

PLAIN: dict[str, Template] = {
    "default@0.2.0": _lf02("Human: {}\nAssistant: ", "\n", _CURIOUS_USER),
    "default@0.5.0": _lf05("Human: {}\nAssistant: ", "\n"),
    "default@0.9.0": Template(user=("Human: {}\nAssistant:",), system=("{}\n",), between=("\n",), tools="action@0.9.0"),
    "default@0.9.5": Template(
        user=("Human: {}", EOS, "\nAssistant:"),
        answer=("{}", EOS, "\n"),
        system=("System: {}", EOS, "\n"),
        tools="action@0.9.5",
    ),
    "vanilla@0.2.0": replace(_lf02("{}"), system=(), history=False),
    "vanilla@0.5.0": _lf05("{}"),
    "empty@0.9.0": Template(answer=("{}",), efficient_eos=True, tools="action@0.9.0"),
    "empty@0.9.5": Template(answer=("{}",), tools="action@0.9.5"),
    "alpaca@0.2.0": _lf02("### Instruction:\n{}\n\n### Response:\n", "\n\n", _ALPACA),
    "alpaca@0.5.0": _lf05("### Instruction:\n{}\n\n### Response:\n", "\n\n", _ALPACA),
    "alpaca@0.9.0": Template(
        user=("### Instruction:\n{}\n\n### Response:\n",),
        between=("\n\n",),
        default_system=_ALPACA + "\n\n",
        tools="action@0.9.0",
    ),
    "alpaca@0.9.5": Template(
        user=("### Instruction:\n{}\n\n### Response:\n",),
        answer=("{}", EOS, "\n\n"),
        default_system=_ALPACA + "\n\n",
        tools="action@0.9.5",
    ),
    "llama2@0.2.0": _LLAMA2_0_2_0,
    "llama2@0.5.0": replace(_LLAMA2_0_5_0, default_system=_LLAMA2.replace("  ", " ")),
    "llama2@0.9.5": _LLAMA2_0_9_5,
    "llama2_zh@0.2.0": replace(_LLAMA2_0_2_0, default_system=_LLAMA2_ZH),
    "llama2_zh@0.5.0": replace(_LLAMA2_0_5_0, default_system=_LLAMA2_ZH),
    "llama2_zh@0.9.5": replace(_LLAMA2_0_9_5, default_system=_LLAMA2_ZH),
    "vicuna@0.2.0": _lf02("USER: {} ASSISTANT: ", "", _CURIOUS_USER),
    "vicuna@0.5.0": _lf05("USER: {} ASSISTANT:", "", _CURIOUS_USER),
    "vicuna@0.9.5": Template(user=("USER: {} ASSISTANT:",), default_system=_CURIOUS_USER, tools="action@0.9.5"),
    "xverse@0.2.0": _lf02("Human: {}\n\nAssistant: "),
    "xverse@0.5.0": _lf05("Human: {}\n\nAssistant: "),
    "mistral@0.5.0": replace(_lf05("[INST] {} [/INST]"), system=(BOS, "{}"), force_system=True),
    "mistral@0.9.5": Template(
        user=("[INST] {}[/INST]",),
        answer=(" {}", EOS),
        system=("{}\n\n",),
        system_in_query=True,
        start=(BOS,),
        function=("[TOOL_CALLS] {}", EOS),
        observation=('[TOOL_RESULTS] {"content": {}}[/TOOL_RESULTS]',),
        tools="mistral@0.9.5",
    ),
    "belle@0.2.0": _lf02("Human: {}\n\nBelle: ", "\n\n"),
    "linly@0.2.0": _lf02("User: {}\nBot: ", "\n"),
    "billa@0.2.0": _lf02("Human: {}\nAssistant: ", "\n"),
    "aquila@0.2.0": replace(
        _lf02("Human: {}###Assistant: ", "###", _CURIOUS_HUMAN, efficient_eos=True), stop=("</s>",)
    ),
}
"""`name@version` -> template."""
