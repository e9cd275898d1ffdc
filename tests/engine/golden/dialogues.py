"""What the golden ids are made of: dialogues, special tokens, cases. Read by the tests and by `make.py`, which runs in
LLaMA-Factory's environment: nothing of this project is imported here."""

SPECIAL = (
    "<sep>", "<eod>", "<|user|>", "<|assistant|>", "<|system|>", "<|observation|>", "[gMASK]", "sop",
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
    "<reserved_102>", "<reserved_103>", "<reserved_106>", "<reserved_107>", "<human>", "<bot>", "<eoh>", "<eoa>",
    "<|end|>",
)  # fmt: skip
"""Added to the tokenizer in this order, so that it can express every template."""

S = "You answer briefly. 回答要简短。"
Q1, A1 = "What is the capital of China?", "Beijing, 北京。"
Q2, A2 = "它有多少人口？\nIn millions, please.", "About 22 million (2,200万)."
TOOLS = [
    {
        "name": "weather",
        "description": "The weather of a city, 天气",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "城市"},
                "unit": {"type": "string", "enum": ["C", "F"]},
                "days": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["city"],
        },
    }
]
CALL = '{"name": "weather", "arguments": {"city": "北京", "unit": "C"}}'
RESULT = '{"temperature": 21, "sky": "晴"}'

WITH_SYSTEM = [("user", Q1), ("assistant", A1), ("user", Q2), ("assistant", A2)]
WITH_TOOLS = [("user", "北京天气怎么样？"), ("function", CALL), ("observation", RESULT), ("assistant", "晴, 21 °C.")]

ROWS = {
    "alpaca": ("alpaca_en_demo", "default", {}),
    "alpaca short": ("alpaca_en_demo", "default", {"cutoff_len": 48}),
    "chinese": ("alpaca_zh_demo", "alpaca", {}),
    "tools": ("glaive_toolcall_en_demo", "default", {}),
    "tools qwen": ("glaive_toolcall_en_demo", "qwen", {"cutoff_len": 700}),
    "tools efficient eos": ("glaive_toolcall_en_demo", "chatglm3", {}),
    "last answer": ("glaive_toolcall_en_demo", "default", {"mask_history": True, "cutoff_len": 256}),
    "prompts too": ("glaive_toolcall_en_demo", "default", {"train_on_prompt": True, "cutoff_len": 256}),
    "pairs": ("dpo_en_demo", "default", {"cutoff_len": 256}),
}
"""Case -> dataset, template, LLaMA-Factory's arguments; `cutoff_len` is 512 without one. The first 20 rows."""
