"""The families' tokenizers against sentencepiece itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from llmctl_engine.config import ModelConfig

pytestmark = pytest.mark.engine

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
    return load_tokenizer(ModelConfig(path=str(folder)))


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

    again = load_tokenizer(ModelConfig(path=str(tmp_path / "saved")))
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
            load_tokenizer(ModelConfig(path=str(tmp_path / "model")))
