"""Folders as they come: in shards, cut off, of another model, with code inside; tokenizers; LoRA through the engine."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llmctl_engine.config import LoraSettings, ModelConfig

from tests.engine.models.small import CONFIGS, small, token_ids
from tests.engine.runs import small_config

pytestmark = pytest.mark.engine
torch = pytest.importorskip("torch", reason="needs torch")


class Words:
    """As much of a tokenizer as loading a model asks for."""

    bos_token_id = eos_token_id = pad_token_id = 1

    def __len__(self) -> int:
        return 60


def _load(folder: Path, tmp_path: Path, **train: Any) -> Any:
    from llmctl_engine.model import load_model

    config = replace(small_config(tmp_path, **train), model=ModelConfig(path=str(folder)))
    return load_model(config, Words())


def _in_shards(folder: Path, *, pickled: bool = False) -> Path:
    """Write the weights again in two shards."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem, suffix = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    names = sorted(weights)
    held = {f"{stem}-0000{n + 1}-of-00002.{suffix}": names[n::2] for n in range(2)}
    for file, part in held.items():
        tensors = {name: weights[name] for name in part}
        torch.save(tensors, folder / file) if pickled else save_file(tensors, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, part in held.items() for name in part}}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Baichuan2-13B folder."""
    folder = tmp_path_factory.mktemp("whole") / "baichuan"
    small("baichuan2-13b").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_shards_give_the_model_back(name: str, pickled: bool, tmp_path: Path) -> None:
    model, ids = small(name), token_ids(1, 9)
    model.save_pretrained(tmp_path / "model")
    loaded = _load(_in_shards(tmp_path / "model", pickled=pickled), tmp_path)
    assert type(loaded) is type(model)
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def _cut(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) * 2 // 3])

    return cut


def _without_a_shard(folder: Path) -> None:
    (_in_shards(folder) / "model-00002-of-00002.safetensors").unlink()


def _cut_bin(folder: Path) -> None:
    _cut("pytorch_model-00001-of-00002.bin")(_in_shards(folder, pickled=True))


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def _broken_index(folder: Path) -> None:
    (_in_shards(folder) / "model.safetensors.index.json").write_text('{"weight_map": ["a"]}')


def _other_config(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "model_type": "llama", "architectures": ["X"]}))


def _smaller_config(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "intermediate_size": 40}))


def _unknown_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no-such-family"}')


def _code_of_its_own(folder: Path) -> None:
    mapped = {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.XForCausalLM"}
    (folder / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": mapped}))
    (folder / "configuration_x.py").write_text("raise SystemExit('ran')")


class Command:
    """A pickle of it calls a function when it is read."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran-by-the-pickle"),)


def _pickle_with_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Command()}, folder / "pytorch_model.bin")


def _plain_pickle_with_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"lm_head.weight": Command()}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            _cut("model.safetensors"),
            r"model\.safetensors is cut off or broken, at \d+ bytes\. copy the whole folder again",
        ),
        (_cut("config.json"), r"config\.json cannot be read"),
        (_cut_bin, r"pytorch_model-00001-of-00002\.bin is cut off or broken"),
        (_without_a_shard, r"lacks model-00002-of-00002\.safetensors, which its index names\. copy the whole folder"),
        (_broken_index, r"index\.json names no files of weights"),
        (_pointer, r"is a pointer of Git LFS, not the weights\. git -C .* lfs pull"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"holds no weights: none of model\.safetensors"),
        (_other_config, r"lacks \d+ of the model's weights: .*config\.json is of another model: the weights have .*W_"),
        (_smaller_config, r"down_proj\.weight is of \(32, 48\), after config\.json it should be of \(32, 40\)"),
        (_unknown_config, r"no-such-family"),
        (_code_of_its_own, r"contains custom code.* model\.trust_remote_code: true runs the code in it"),
        (_pickle_with_code, r"holds a pickle that is more than tensors, or broken; it was not run"),
        (_plain_pickle_with_code, r"holds a pickle that is more than tensors, or broken; it was not run"),
    ],
)
def test_folders_that_are_not_loaded(
    harm: Callable[[Path], None], message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmctl_engine.errors import EngineError

    monkeypatch.chdir(tmp_path)
    harm(folder)
    with pytest.raises(EngineError, match=message) as caught:
        _load(folder, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran-by-the-pickle").exists()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_lora_trains_the_modules_of_the_family(attention: str, whole: Path, tmp_path: Path) -> None:
    model = _load(whole, tmp_path, method="lora", lora=LoraSettings(targets=("W_pack",)), gradient_checkpointing=True)
    model.train().gradient_checkpointing_enable()
    model.base_model.model.set_attn_implementation(attention)
    ids = token_ids(2, 8)
    model(input_ids=ids, labels=ids).loss.backward()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert {name.split("self_attn.")[1].split(".")[0] for name in trained} == {"W_pack"}
    assert all(weight.grad is not None for name, weight in model.named_parameters() if name in trained)


def test_a_llama_folder_of_yuans_own_code_is_a_yuan(tmp_path: Path) -> None:
    from llmctl_engine.models.yuan import YuanForCausalLM
    from transformers import AutoConfig, LlamaConfig

    model, ids = small("yuan"), token_ids(1, 9)
    model.save_pretrained(tmp_path / "model")
    values = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps({**values, "model_type": "llama"}))
    loaded = _load(tmp_path / "model", tmp_path)
    assert type(loaded) is YuanForCausalLM
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert type(AutoConfig.for_model("llama", vocab_size=8)) is LlamaConfig


def test_the_recipe_stands_above_config_json(whole: Path, tmp_path: Path) -> None:
    from llmctl_engine.errors import EngineError
    from llmctl_engine.model import load_model

    def load(**source: Any) -> Any:
        return load_model(replace(small_config(tmp_path), model=ModelConfig(**source)), Words())

    model = load(path=str(whole), family="baichuan-7b")
    assert (model.config.has_alibi, model.config.has_norm_head) == (False, False)
    assert type(model.lm_head) is torch.nn.Linear
    model.save_pretrained(tmp_path / "saved")
    again = load(path=str(tmp_path / "saved"))
    assert (again.config.has_alibi, again.config.has_norm_head) == (False, False)
    with pytest.raises(EngineError, match=r"is a baichuan, model\.family says yuan\. leave model\.family out"):
        load(path=str(whole), family="yuan")
    made = load(init={k: v for k, v in CONFIGS["baichuan-7b"].items() if k != "model_type"}, family="baichuan2")
    assert (made.config.has_alibi, made.config.has_norm_head) == (False, True)


TEXTS = [
    "Give three tips for staying healthy.",
    "保持健康的三个提示。",
    " two  spaces, then a tab\tand\na line ",
    "😀 龘 a bytes' story",
    "",
]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentencepiece model with byte fallback and a few pieces that the families name."""
    spm = pytest.importorskip("sentencepiece", reason="needs sentencepiece")
    folder = tmp_path_factory.mktemp("pieces")
    named = ["<reserved_106>", "<reserved_107>", "<eod>", "<n>", "<sep>", "<pad>"]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS[:3] * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        user_defined_symbols=named,
        minloglevel=2,
    )
    return folder


def _tokenizer(pieces: Path, folder: Path, model_type: str, **values: Any) -> Any:
    from llmctl_engine.tokenizer import load_tokenizer

    shutil.copytree(pieces, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    return load_tokenizer(ModelConfig(path=str(folder)), ())


def test_baichuans_tokenizer_gives_sentencepieces_ids(pieces: Path, tmp_path: Path) -> None:
    token = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False, "single_word": True}
    published = {
        "tokenizer_class": "BaichuanTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_baichuan.BaichuanTokenizer", None]},
        **{"add_bos_token": False, "add_eos_token": False, "model_max_length": 4096, "sp_model_kwargs": {}},
        **{name: {**token, "content": piece} for name, piece in (("bos_token", "<s>"), ("eos_token", "</s>"))},
        **{name: {**token, "content": "<unk>"} for name in ("unk_token", "pad_token")},
    }
    tokenizer = _tokenizer(pieces, tmp_path / "model", "baichuan", **published)
    assert type(tokenizer).__name__ == "BaichuanTokenizer"
    sp = tokenizer.sp_model
    for text in (*TEXTS, "<reserved_106>你好<reserved_107>"):
        assert tokenizer(text).input_ids == sp.encode(text), text
        assert tokenizer.decode(sp.encode(text)) == sp.decode(sp.encode(text)), text
    special = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert special == [0, 1, 2]
    assert tokenizer.convert_tokens_to_ids(["<reserved_106>", "<reserved_107>"]) == [3, 4]
    tokenizer.save_pretrained(tmp_path / "saved")
    shutil.copy(tmp_path / "model/config.json", tmp_path / "saved")
    from llmctl_engine.tokenizer import load_tokenizer

    again = load_tokenizer(ModelConfig(path=str(tmp_path / "saved")), ())
    assert [again(text).input_ids for text in TEXTS] == [tokenizer(text).input_ids for text in TEXTS]


def test_yuans_tokenizer_is_as_its_users_load_it(pieces: Path, tmp_path: Path) -> None:
    published = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": True, "pad_token": None}
    tokenizer = _tokenizer(pieces, tmp_path / "model", "yuan", **published)
    assert type(tokenizer).__name__ == "YuanTokenizer"
    sp = tokenizer.sp_model
    assert [tokenizer(text).input_ids for text in TEXTS] == [sp.encode(text) for text in TEXTS]
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<eod>", 5)
    assert tokenizer.convert_tokens_to_ids(["<n>", "<sep>", "<pad>"]) == [6, 7, 8]
    # Thirteen of the fifteen added tokens are no pieces here.
    assert len(tokenizer) == sp.get_piece_size() + 13
    assert tokenizer.convert_tokens_to_ids("<mask>") == sp.get_piece_size()
    parted = tokenizer("问<sep>hi<eod>").input_ids
    assert parted == [*sp.encode("问"), 7, *sp.encode("hi"), 5]


def test_tokenizers_that_are_not_loaded(pieces: Path, tmp_path: Path) -> None:
    from llmctl_engine.errors import EngineError
    from llmctl_engine.tokenizer import load_tokenizer

    shutil.copytree(pieces, tmp_path / "model")
    (tmp_path / "model/config.json").write_text(json.dumps({"model_type": "baichuan"}))
    for harm in (
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        lambda path: path.unlink(),
    ):
        harm(tmp_path / "model/tokenizer.model")
        with pytest.raises(EngineError, match="holds no tokenizer that can be loaded"):
            load_tokenizer(ModelConfig(path=str(tmp_path / "model")), ())
