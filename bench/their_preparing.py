"""LLaMA-Factory's side of `bench.data_prepare`, run by the Python of its own environment:

    PYTHON their_preparing.py MODEL DATA OUT DATASET,DATASET

It tokenises as `llamafactory-cli train` does before training, saves, and prints as JSON the seconds of that without the
imports, and digests of what was saved. Without torchaudio an empty module stands in for it: no sound is read here."""

import hashlib
import importlib.machinery
import importlib.util
import json
import sys
import time
import types

if importlib.util.find_spec("torchaudio") is None or "--no-sound" in sys.argv:
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    sys.modules["torchaudio"].__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)

import numpy
from datasets import load_from_disk
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer


def digests(folder):
    rows = load_from_disk(folder)["train"].data.table
    found = {"rows": rows.num_rows}
    for name in ("input_ids", "labels"):
        whole = hashlib.sha256()
        for piece in rows.column(name).chunks:
            whole.update(piece.flatten().to_numpy(zero_copy_only=False).astype(numpy.int32).tobytes())
        found[name] = whole.hexdigest()
    return found


def main(model, data, out, datasets, *_):
    arguments = {
        **{"model_name_or_path": model, "dataset_dir": data, "dataset": datasets, "template": "default"},
        **{"stage": "sft", "do_train": True, "finetuning_type": "full", "cutoff_len": 1024, "report_to": "none"},
        **{"preprocessing_num_workers": 2, "overwrite_cache": True, "output_dir": f"{out}/run", "tokenized_path": out},
    }
    model_args, data_args, training_args, _, _ = get_train_args(arguments)
    began = time.perf_counter()
    loaded = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)
    get_dataset(template, model_args, data_args, training_args, stage="sft", **loaded)
    print(json.dumps({"work": time.perf_counter() - began, **digests(out)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
