"""Folders that are cut off, of another model, with code inside: an error that says what is wrong, before they load."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.models.folders import in_shards, load
from tests.engine.models.small import small

pytestmark = pytest.mark.engine
torch = pytest.importorskip("torch", reason="needs torch")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def _cut(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) * 2 // 3])

    return cut


def _without_a_shard(folder: Path) -> None:
    (in_shards(folder) / "model-00002-of-00002.safetensors").unlink()


def _cut_bin(folder: Path) -> None:
    _cut("pytorch_model-00001-of-00002.bin")(in_shards(folder, pickled=True))


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def _broken_index(folder: Path) -> None:
    (in_shards(folder) / "model.safetensors.index.json").write_text('{"weight_map": ["a"]}')


def _index_of(folder: Path, **changes: Any) -> None:
    path = in_shards(folder) / "model.safetensors.index.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def _dead_link(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../../blobs/0a1b")


def _configured(**changes: Any) -> Callable[[Path], None]:
    def configure(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | changes))

    return configure


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


def _no_tensors(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model": {"lm_head.weight": torch.ones(2)}}, folder / "pytorch_model.bin")


def _web_page(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_text("<html>404</html>")


def _unknown_type(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"Z32"', 1))


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
        (
            _configured(model_type="llama", architectures=["X"]),
            r"lacks \d+ of the model's weights: .*is of another model: .*W_",
        ),
        (
            _configured(intermediate_size=40),
            r"down_proj\.weight is of \(32, 48\), .* it should be of \(32, 40\)",
        ),
        (_unknown_config, r"no-such-family"),
        (_code_of_its_own, r"contains custom code.* model\.trust_remote_code: true runs the code in it"),
        (_pickle_with_code, r"holds a pickle that is more than tensors, or broken; it was not run"),
        (_plain_pickle_with_code, r"holds a pickle that is more than tensors, or broken; it was not run"),
        (_web_page, r"holds a pickle that is more than tensors, or broken; it was not run"),
        (_no_tensors, r"pytorch_model\.bin holds no tensors by their names"),
        (_unknown_type, r"model\.safetensors cannot be read: .*Z32"),
        (_dead_link, r"is a link to \.\./\.\./blobs/0a1b, which is not there\. copy with cp -L"),
        (lambda folder: _index_of(folder, weight_map={}), r"index\.json names no files of weights"),
        (lambda folder: _index_of(folder, weight_map={"a": "../b.bin"}), r"names \.\./b\.bin, which is no file of wei"),
        (
            lambda folder: _index_of(folder, metadata=None),
            r"has no metadata.* write \"metadata\": \{\} into it",
        ),
        (
            _configured(num_hidden_layers=1),
            r"holds 7 weights .* not account for: model\.layers\.1",
        ),
        (_configured(num_hidden_layers=3), r"lacks 7 of the model's weights: model\.layers\.2"),
        (_configured(num_hidden_layers=-1), r"model/config\.json has num_hidden_layers -1"),
        (_configured(vocab_size="64"), r"config\.json has vocab_size '64'"),
        (_configured(num_attention_heads=7), r"has num_attention_heads 7, which does not divide hidden_size 32"),
        (_configured(rms_norm_eps=None), r"has rms_norm_eps None\. it must be the one that came with the weights"),
        (_configured(pad_token_id=99), r"has pad_token_id 99, and the vocabulary ends at 64"),
        (_configured(hidden_act="gelu"), r"has hidden_act 'gelu'; the family has silu"),
        (_configured(rope_scaling={"type": "linear", "factor": 2.0}), r"the family's positions are not scaled"),
        (_configured(quantization_config={"quant_method": "gptq", "bits": 4}), r"holds no model that can be loaded: "),
    ],
)
def test_folders_that_are_not_loaded(
    harm: Callable[[Path], None], message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmctl_engine.errors import EngineError

    monkeypatch.chdir(tmp_path)
    harm(folder)
    with pytest.raises(EngineError, match=message) as caught:
        load(folder, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran-by-the-pickle").exists()


def test_a_yuan_that_says_it_is_a_llama_is_not_loaded_as_one(tmp_path: Path) -> None:
    """All weights of a Llama are there; those of the filter would be left out without a word."""
    from llmctl_engine.errors import EngineError

    small("yuan").save_pretrained(tmp_path / "model")
    _configured(model_type="llama", architectures=["LlamaForCausalLM"])(tmp_path / "model")
    with pytest.raises(EngineError, match=r"holds 10 weights .* account for: model\.layers\.0\.self_attn\.lf_gate"):
        load(tmp_path / "model", tmp_path)


def test_weights_that_may_be_left_out(tmp_path: Path) -> None:
    """A tower beside the layers, a last layer of another kind, masks that old files hold; but not one more layer."""
    from llmctl_engine.errors import EngineError
    from llmctl_engine.models.folder import assert_known

    model = small("baichuan-7b")
    last = ["model.layers.2.eh_proj.weight", "model.layers.2.mlp.up_proj.weight"]
    tower = ["vision.layers.0.mlp.up_proj.weight", "visual.merger.weight"]
    assert_known(tmp_path, model, [*last, *tower, "model.layers.0.self_attn.masked_bias", "head.extra.weight"])
    with pytest.raises(EngineError, match=r"holds 1 weight .* for: model\.layers\.2\.mlp\.up_proj\.weight"):
        assert_known(tmp_path, model, [*tower, last[1]])


@pytest.mark.parametrize("name", ["baichuan-7b", "yuan"])
def test_tensor_parallelism_is_refused(name: str) -> None:
    from llmctl_engine.errors import EngineError
    from transformers.distributed import DistributedConfig

    plan = {"layers.*.self_attn.q_proj": "colwise"}
    for split in (DistributedConfig(tp_size=2), DistributedConfig(tp_plan=plan)):
        with pytest.raises(EngineError, match=r"cannot be split by columns .* shard it with ZeRO or FSDP"):
            small(name, distributed_config=split)
    assert small(name, distributed_config=DistributedConfig(fsdp_size=2)) is not None


def test_deepspeeds_tensor_parallelism_is_refused(tmp_path: Path) -> None:
    from llmctl_engine.deepspeed_file import load_deepspeed
    from llmctl_engine.errors import EngineError

    (tmp_path / "ds_config.json").write_text('{"tensor_parallel": {"autotp_size": 2}}')
    with pytest.raises(EngineError, match=r"asks for tensor_parallel: .* shard the model with ZeRO-3"):
        load_deepspeed(str(tmp_path / "ds_config.json"), "gloo")
