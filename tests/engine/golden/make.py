"""Makes `llama_factory.json`: token ids and labels by LLaMA-Factory 0.9.5 itself. In an environment of its own:

    python -m venv ENV && ENV/bin/pip install llamafactory==0.9.5 transformers==5.6.0
    ENV/bin/python tests/engine/golden/make.py SHARED/reference/llamafactory/model SHARED/samples/data

Without torchaudio an empty module stands in for it: no sound is read here."""

import hashlib
import importlib.machinery
import importlib.util
import json
import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
if importlib.util.find_spec("torchaudio") is None:
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    sys.modules["torchaudio"].__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)

import dialogues
from llamafactory.data import tool_utils
from llamafactory.data.converter import get_dataset_converter
from llamafactory.data.parser import get_dataset_list
from llamafactory.data.processor import PairwiseDatasetProcessor, SupervisedDatasetProcessor
from llamafactory.data.template import TEMPLATES
from transformers import AutoTokenizer

NAMES = (
    "default", "empty", "alpaca", "llama2", "llama2_zh", "vicuna", "mistral", "chatglm3", "qwen", "chatml", "yuan",
    "llama3",
)  # fmt: skip


class FixedDay:
    """Llama 3's tools come with the day of the run; the golden ids with the default day of Llama 3.1's own template."""

    @staticmethod
    def now():
        return tool_utils_datetime(2024, 7, 26)


tool_utils_datetime = tool_utils.datetime


def tokenizer(folder, template):
    made = AutoTokenizer.from_pretrained(folder)
    made.add_special_tokens({"additional_special_tokens": list(dialogues.SPECIAL)})
    TEMPLATES[template].fix_special_tokens(made)
    return made


def messages(dialogue):
    return [{"role": role, "content": content} for role, content in dialogue]


def template_ids(folder, name):
    made, template = tokenizer(folder, name), TEMPLATES[name]
    encode = template.encode_multiturn
    told = messages(dialogues.WITH_SYSTEM)
    return {
        "system": encode(made, told, dialogues.S),
        "default system": encode(made, told),
        "tools": encode(made, messages(dialogues.WITH_TOOLS), dialogues.S, json.dumps(dialogues.TOOLS)),
    }


def row_digests(folder, data, case):
    dataset, name, given = dialogues.ROWS[case]
    arguments = types.SimpleNamespace(**{"cutoff_len": 512, "mask_history": False, "train_on_prompt": False, **given})
    (about,) = get_dataset_list([dataset], data)
    convert = get_dataset_converter(about.formatting, about, arguments)
    rows = [convert(row) for row in json.loads((Path(data) / about.dataset_name).read_text(encoding="utf-8"))[:20]]
    kind = PairwiseDatasetProcessor if about.ranking else SupervisedDatasetProcessor
    processor = kind(template=TEMPLATES[name], tokenizer=tokenizer(folder, name), processor=None, data_args=arguments)
    built = processor.preprocess_dataset({key: [row[key] for row in rows] for key in rows[0]})
    columns = [built[key] for key in built if key.endswith(("input_ids", "labels"))]
    return [hashlib.sha256(json.dumps(row).encode()).hexdigest()[:16] for row in zip(*columns, strict=True)]


def main(folder, data):
    tool_utils.datetime = FixedDay
    made = {
        "templates": {f"{name}@0.9.5": template_ids(folder, name) for name in NAMES},
        "rows": {case: row_digests(folder, data, case) for case in dialogues.ROWS},
    }
    text = json.dumps(made, separators=(",", ":")).replace('},"', '},\n"')
    (Path(__file__).parent / "llama_factory.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
