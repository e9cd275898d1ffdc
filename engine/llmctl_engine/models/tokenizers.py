"""Tokenizers of the families: sentencepiece's own ids, the special tokens that the published models were made with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

PATTERNS = {(False, False): "none", (True, False): "bos", (False, True): "eos", (True, True): "bos_eos"}
"""What stands around a text, by (begin token, end token)."""
PLAIN_TOKENS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
"""Pieces 0, 1 and 2 of both families."""
YUAN_END = "<eod>"
YUAN_TOKENS = (
    *("<sep>", "<pad>", "<mask>", "<predict>", "<FIM_SUFFIX>", "<FIM_PREFIX>", "<FIM_MIDDLE>"),
    *("<commit_before>", "<commit_msg>", "<commit_after>"),
    *("<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>", "<empty_output>"),
)
"""In the order in which those that are no pieces get ids behind the last piece."""


class PieceTokenizer(SentencePieceBackend):  # type: ignore[misc]
    """Text between special tokens goes through sentencepiece as it is, and comes back the same way, bytes included."""

    def __init__(self, *, add_bos_token: bool = True, add_eos_token: bool = False, **more: Any) -> None:
        self.add_bos_token, self.add_eos_token = add_bos_token, add_eos_token
        # `legacy` is transformers' word for text without changes before it is encoded.
        more |= {"legacy": True, "special_tokens_pattern": PATTERNS[add_bos_token, add_eos_token]}
        super().__init__(add_bos_token=add_bos_token, add_eos_token=add_eos_token, **more)

    def save_pretrained(self, save_directory: Any, *rest: Any, **more: Any) -> tuple[str, ...]:
        """Write the tokenizer's files; their paths. Whether begin and end tokens are added is kept, which transformers
        drops."""
        written: tuple[str, ...] = super().save_pretrained(save_directory, *rest, **more)
        path = Path(save_directory) / "tokenizer_config.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        values |= {"add_bos_token": self.add_bos_token, "add_eos_token": self.add_eos_token}
        path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return written

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of pieces; special and added tokens stand for themselves."""
        texts: list[str] = []
        pieces: list[str] = []
        for token in tokens:
            if token in self._added_tokens_encoder:
                texts += [self.sp_model.decode(pieces), token]
                pieces = []
            else:
                pieces.append(token)
        return "".join([*texts, self.sp_model.decode(pieces)])


class BaichuanTokenizer(PieceTokenizer):
    """Baichuan and Baichuan 2. Pieces 195 and 196 open the turns of user and assistant; padding is `<unk>`."""

    def __init__(self, **more: Any) -> None:
        tokens = PLAIN_TOKENS | {name: token for name, token in more.items() if token is not None}
        super().__init__(**{"pad_token": tokens["unk_token"]} | tokens)


class YuanTokenizer(PieceTokenizer):
    """Yuan 2.0. As its users load it, whatever the published tokenizer_config.json says: no begin and no end token
    around a text, `<eod>` as the end."""

    def __init__(self, **more: Any) -> None:
        fixed = {"add_bos_token": False, "add_eos_token": False, "eos_token": YUAN_END}
        super().__init__(**PLAIN_TOKENS | more | fixed)
        self.add_tokens(list(YUAN_TOKENS), special_tokens=True)
