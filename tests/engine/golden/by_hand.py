"""The segments of the releases before 0.9.5, written by hand from their published tables: the dialogue with a system
text (`WITH_SYSTEM`) as prompt, answer, prompt, answer. A string is a text; a tuple holds a special token's name."""

from __future__ import annotations

from tests.engine.golden.dialogues import A1, A2, Q1, Q2, S

Segment = str | tuple[str]
B, E = ("bos",), ("eos",)

_SYS = f"<<SYS>>\n{S}\n<</SYS>>\n\n"
_IM_USER1 = f"<|im_start|>user\n{Q1}<|im_end|>\n<|im_start|>assistant\n"
_IM_USER2 = f"<|im_start|>user\n{Q2}<|im_end|>\n<|im_start|>assistant\n"
_IM_SYSTEM = f"<|im_start|>system\n{S}<|im_end|>\n"

BY_HAND: dict[str, list[list[Segment]]] = {
    "default@0.2.0": [
        [B, S, "\n", f"Human: {Q1}\nAssistant: "], [A1, E], ["\n", B, f"Human: {Q2}\nAssistant: "], [A2, E],
    ],
    "default@0.5.0": [[S, f"Human: {Q1}\nAssistant: "], [A1, E], ["\n", f"Human: {Q2}\nAssistant: "], [A2, E]],
    "default@0.9.0": [
        [f"{S}\n", f"Human: {Q1}\nAssistant:"], [A1, E], ["\n", f"Human: {Q2}\nAssistant:"], [A2, E],
    ],
    "vanilla@0.2.0": [[B, Q2], [A2, E]],
    "vanilla@0.5.0": [[S, Q1], [A1, E], [Q2], [A2, E]],
    "empty@0.9.0": [[S, Q1], [A1], [Q2], [A2]],
    "alpaca@0.2.0": [
        [B, S, "\n\n", f"### Instruction:\n{Q1}\n\n### Response:\n"], [A1, E],
        ["\n\n", B, f"### Instruction:\n{Q2}\n\n### Response:\n"], [A2, E],
    ],
    "alpaca@0.5.0": [
        [S, f"### Instruction:\n{Q1}\n\n### Response:\n"], [A1, E],
        ["\n\n", f"### Instruction:\n{Q2}\n\n### Response:\n"], [A2, E],
    ],
    "alpaca@0.9.0": [
        [S, f"### Instruction:\n{Q1}\n\n### Response:\n"], [A1, E],
        ["\n\n", f"### Instruction:\n{Q2}\n\n### Response:\n"], [A2, E],
    ],
    "llama2@0.2.0": [[B, f"[INST] {_SYS}{Q1} [/INST] "], [A1, E], [B, f"[INST] {Q2} [/INST] "], [A2, E]],
    "llama2@0.5.0": [[B, f"[INST] {_SYS}{Q1} [/INST]"], [A1, E], [B, f"[INST] {Q2} [/INST]"], [A2, E]],
    "llama2_zh@0.2.0": [[B, f"[INST] {_SYS}{Q1} [/INST] "], [A1, E], [B, f"[INST] {Q2} [/INST] "], [A2, E]],
    "llama2_zh@0.5.0": [[B, f"[INST] {_SYS}{Q1} [/INST]"], [A1, E], [B, f"[INST] {Q2} [/INST]"], [A2, E]],
    "vicuna@0.2.0": [[B, S, f"USER: {Q1} ASSISTANT: "], [A1, E], [B, f"USER: {Q2} ASSISTANT: "], [A2, E]],
    "vicuna@0.5.0": [[S, f"USER: {Q1} ASSISTANT:"], [A1, E], [f"USER: {Q2} ASSISTANT:"], [A2, E]],
    "xverse@0.2.0": [[B, S, f"Human: {Q1}\n\nAssistant: "], [A1, E], [B, f"Human: {Q2}\n\nAssistant: "], [A2, E]],
    "xverse@0.5.0": [[S, f"Human: {Q1}\n\nAssistant: "], [A1, E], [f"Human: {Q2}\n\nAssistant: "], [A2, E]],
    "mistral@0.5.0": [[B, S, f"[INST] {Q1} [/INST]"], [A1, E], [f"[INST] {Q2} [/INST]"], [A2, E]],
    "belle@0.2.0": [
        [B, S, "\n\n", f"Human: {Q1}\n\nBelle: "], [A1, E], ["\n\n", B, f"Human: {Q2}\n\nBelle: "], [A2, E],
    ],
    "linly@0.2.0": [[B, S, "\n", f"User: {Q1}\nBot: "], [A1, E], ["\n", B, f"User: {Q2}\nBot: "], [A2, E]],
    "billa@0.2.0": [
        [B, S, "\n", f"Human: {Q1}\nAssistant: "], [A1, E], ["\n", B, f"Human: {Q2}\nAssistant: "], [A2, E],
    ],
    "aquila@0.2.0": [
        [B, S, "###", f"Human: {Q1}###Assistant: "], [A1], ["###", B, f"Human: {Q2}###Assistant: "], [A2],
    ],
    "baichuan@0.2.0": [
        [B, S, ("<reserved_102>",), Q1, ("<reserved_103>",)], [A1],
        [B, ("<reserved_102>",), Q2, ("<reserved_103>",)], [A2],
    ],
    "baichuan@0.5.0": [
        [S, ("<reserved_102>",), Q1, ("<reserved_103>",)], [A1], [("<reserved_102>",), Q2, ("<reserved_103>",)], [A2],
    ],
    "baichuan2@0.2.0": [
        [B, S, ("<reserved_106>",), Q1, ("<reserved_107>",)], [A1],
        [B, ("<reserved_106>",), Q2, ("<reserved_107>",)], [A2],
    ],
    "baichuan2@0.5.0": [
        [S, ("<reserved_106>",), Q1, ("<reserved_107>",)], [A1], [("<reserved_106>",), Q2, ("<reserved_107>",)], [A2],
    ],
    "chatglm2@0.2.0": [
        [B, ("[gMASK]",), ("sop",), S, "\n\n", f"[Round 0]\n\n问：{Q1}\n\n答："], [A1],
        ["\n\n", B, f"[Round 1]\n\n问：{Q2}\n\n答："], [A2],
    ],
    "chatglm2@0.5.0": [
        [("[gMASK]",), ("sop",), S, f"[Round 0]\n\n问：{Q1}\n\n答："], [A1],
        ["\n\n", f"[Round 1]\n\n问：{Q2}\n\n答："], [A2],
    ],
    "chatglm3@0.5.0": [
        [("[gMASK]",), ("sop",), ("<|system|>",), "\n", S, ("<|user|>",), "\n", Q1, ("<|assistant|>",)], ["\n", A1],
        [("<|user|>",), "\n", Q2, ("<|assistant|>",)], ["\n", A2],
    ],
    "qwen@0.5.0": [[_IM_SYSTEM, _IM_USER1], [A1, ("<|im_end|>",)], ["\n", _IM_USER2], [A2, ("<|im_end|>",)]],
    "chatml@0.2.0": [
        [B, ("<|im_start|>",), f"system\n{S}", ("<|im_end|>",), "\n",
         ("<|im_start|>",), f"user\n{Q1}", ("<|im_end|>",), "\n", ("<|im_start|>",), "assistant\n"],
        [A1],
        [("<|im_end|>",), "\n", B,
         ("<|im_start|>",), f"user\n{Q2}", ("<|im_end|>",), "\n", ("<|im_start|>",), "assistant\n"],
        [A2],
    ],
    "chatml@0.6.0": [[_IM_SYSTEM, _IM_USER1], [A1, ("<|im_end|>",)], ["\n", _IM_USER2], [A2, ("<|im_end|>",)]],
    "yuan@0.5.0": [
        [S, Q1, ("<sep>",)], [A1, ("<eod>",)], ["\n", Q2, ("<sep>",)], [A2, ("<eod>",)],
    ],
    "intern@0.2.0": [
        [B, S, ("<eoa>",), "\n", f"<|User|>:{Q1}", ("<eoh>",), "\n<|Bot|>:"], [A1],
        [("<eoa>",), "\n", B, f"<|User|>:{Q2}", ("<eoh>",), "\n<|Bot|>:"], [A2],
    ],
    "intern@0.5.0": [
        [S, f"<|User|>:{Q1}", ("<eoh>",), "\n<|Bot|>:"], [A1],
        [("<eoa>",), "\n", f"<|User|>:{Q2}", ("<eoh>",), "\n<|Bot|>:"], [A2],
    ],
    "ziya@0.2.0": [
        [B, S, "\n", ("<human>",), f":{Q1}\n", ("<bot>",), ":"], [A1, E],
        ["\n", B, ("<human>",), f":{Q2}\n", ("<bot>",), ":"], [A2, E],
    ],
    "ziya@0.5.0": [
        [S, ("<human>",), f":{Q1}\n", ("<bot>",), ":"], [A1, E],
        ["\n", ("<human>",), f":{Q2}\n", ("<bot>",), ":"], [A2, E],
    ],
    "starchat@0.2.0": [
        [B, ("<|system|>",), f"\n{S}", ("<|end|>",), "\n",
         ("<|user|>",), f"\n{Q1}", ("<|end|>",), "\n", ("<|assistant|>",)],
        [A1],
        [("<|end|>",), "\n", B, ("<|user|>",), f"\n{Q2}", ("<|end|>",), "\n", ("<|assistant|>",)],
        [A2],
    ],
}  # fmt: skip
"""`name@version` -> prompt, answer, prompt, answer."""

EFFICIENT = {
    "empty@0.9.0", "aquila@0.2.0", "baichuan@0.2.0", "baichuan@0.5.0", "baichuan2@0.2.0", "baichuan2@0.5.0",
    "chatglm2@0.2.0", "chatglm2@0.5.0", "chatglm3@0.5.0", "chatml@0.2.0", "intern@0.2.0", "intern@0.5.0",
    "starchat@0.2.0",
}  # fmt: skip
"""Those whose answers carry no EOS of their own: one ends the sample."""
