"""The story of one rank: data, process group, model, training, what is left."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmctl_engine import checkpoint, group, once, outcome, packing, ranklog
from llmctl_engine.about import ABOUT, RECORDED, SUMMARY
from llmctl_engine.complaints import complaints
from llmctl_engine.config import EngineConfig
from llmctl_engine.deepspeed_file import keep_on_nodes, load_deepspeed
from llmctl_engine.devices import DEVICES
from llmctl_engine.errors import EngineError, Stopped
from llmctl_engine.parts import all_differences
from llmctl_engine.prepare import Progress, for_run
from llmctl_engine.prepared import Prepared, attach, padding
from llmctl_engine.records import Records
from llmctl_engine.stop import StopRequest
from llmctl_engine.tokenizer import Tokenizer, load_tokenizer

PROGRESS_EVERY = 10.0
"""Seconds between two lines of progress."""


def train(config: EngineConfig) -> None:
    """Train one rank as `config` says. Raises EngineError, of which Stopped after a signal."""
    stop = StopRequest()
    stop.listen()
    # They are for those who write the libraries, and would come from every rank at every checkpoint.
    warnings.simplefilter("ignore", FutureWarning)
    _assert_world(config)
    os.environ.setdefault("DS_ACCELERATOR", DEVICES[config.device].torch_name)
    # Tokenising comes before the process group: its watchdog does not wait for it.
    with once.on_node(
        f"{config.run_id} {config.output_dir}", lambda: str(for_run(config, progress_of(stop)).folder)
    ) as made:
        prepared = attach(made)
        summary = _summary(config, prepared)
        _import_plugin(config.device)
        try:
            _train(config, load_tokenizer(config.model, prepared.tokenizer), prepared, summary, stop)
        finally:
            group.end()


def _summary(config: EngineConfig, prepared: Prepared) -> dict[str, Any]:
    """What data_summary.json says, told in the log as well."""
    packs = None if prepared.packs is None else len(prepared.packs)
    saved = padding(prepared.ids.lengths(), prepared.packs, config.train.micro_batch)
    bytes_trained_on = {name: prepared.about[name] for name in RECORDED}
    summary = {
        **prepared.about["summary"],
        "packing": {"mode": config.packing, "packs": packs, "padding": saved},
        "prepared": bytes_trained_on,
    }
    _tell(f"{summary['examples']} samples of {summary['rows']} rows, {summary['tokens']} tokens")
    for line in complaints(summary):
        _tell(line)
    if packs is not None:
        _tell(f"packed into {packs} rows: {saved['with']:.1%} padding, {saved['without']:.1%} without packing")
    return summary


def progress_of(stop: StopRequest) -> Progress:
    """Tells now and then how many rows are tokenised, and raises Stopped when `stop` has heard a signal."""
    told = time.monotonic()

    def tell(done: int, total: int | None) -> None:
        nonlocal told
        if stop.signal_number:
            raise Stopped(stop.signal_number, "stopped by a signal while the data was prepared, nothing is trained yet")
        if time.monotonic() - told >= PROGRESS_EVERY:
            told = time.monotonic()
            _tell(f"tokenised {done} rows" if total is None else f"tokenised {done} of {total} rows")

    return tell


def _train(
    config: EngineConfig,
    tokenizer: Tokenizer,
    prepared: Prepared,
    summary: dict[str, Any],
    stop: StopRequest,
) -> None:
    from transformers import PrinterCallback, set_seed
    from transformers.utils.logging import disable_progress_bar

    from llmctl_engine.arguments import training_arguments
    from llmctl_engine.collate import BatchRows, collator_for
    from llmctl_engine.loss import LabelledLoss
    from llmctl_engine.model import load_model
    from llmctl_engine.proof import assert_takes_positions, prove
    from llmctl_engine.trainer import EngineTrainer
    from llmctl_engine.watch import Watch

    disable_progress_bar()
    output = Path(config.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    collective = DEVICES[config.device].collective
    arguments = training_arguments(config, load_deepspeed(config.deepspeed, collective) if config.deepspeed else None)
    _assert_device(config, arguments.device.type)
    group.assert_equal("data set or tokenizer", _digest(config, tokenizer, prepared), arguments.device)
    shared = group.shares_folder(output, config.run_id, arguments.device)
    arguments.save_on_each_node = not shared
    if config.deepspeed and not shared:
        keep_on_nodes(arguments.hf_deepspeed_config.config)
    start = _newest_checkpoint(config, output, arguments.device) if config.resume else None
    if start:
        other = trained_otherwise(output, prepared)
        # Of nodes that share no folder only the first has the old summary.
        if group.gather([int(other is not None)], arguments.device).any():
            raise EngineError(
                f"the run up to checkpoint-{start} was trained on other data than what lies here now{other or ''}",
                hint="put the data and the settings back as they were and resume, or start a new run with `llmctl run`",
            )
    set_seed(config.train.seed)
    model = load_model(config, tokenizer)
    loss = LabelledLoss(model)
    records = None
    if group.rank() == 0:
        _write_summary(output, summary)
        records = Records(output, first_step=start or 0)
    rows = BatchRows(prepared, prepared.packs)
    multiple = 1 if config.train.stage == "pt" else packing.MULTIPLE
    if prepared.packs is not None:
        assert_takes_positions(model)
    collate = collator_for(config.packing, model.config._attn_implementation, tokenizer.pad_token_id, multiple)
    watch = Watch(config, loss, rows, records, stop)
    trainer = EngineTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=collate,
        processing_class=tokenizer,
        compute_loss_func=loss,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.loss, trainer.watch, trainer.output, trainer.keep = loss, watch, output, config.train.save_total_limit

    def proven(forward: Callable[..., Any]) -> None:
        proof = prove(forward, rows, collate, loss, settings=config.train, device=arguments.device)
        if proof is None:
            _tell("packing: no row holds more than one sample, so there is nothing to prove")
            return
        _tell(proof.told())
        if group.rank() == 0:
            summary["packing"]["proof"] = dataclasses.asdict(proof)
            _write_summary(output, summary)

    trainer.before = proven if prepared.packs is not None else None
    result = trainer.train(resume_from_checkpoint=str(output / f"checkpoint-{start}") if start else None)
    trainer.save_state()
    if watch.stopped_by and trainer.state.global_step < trainer.state.max_steps:
        group.barrier()
        raise Stopped(watch.stopped_by, f"stopped by a signal, checkpoint-{trainer.state.global_step} is written")
    trainer.save_model(str(output))
    group.barrier()
    if records is not None:
        metrics = outcome.over_all(result.metrics, trainer.state.log_history, resumed_from=start or 0)
        _finish(output, trainer.state, metrics, records)
    group.barrier()


def trained_otherwise(output: Path, prepared: Prepared) -> str | None:
    """What differs between what the run in `output` trained on until now and `prepared`, as `: this, that`, empty where
    that is not known; None where it is the same or an older engine did not write it down."""
    try:
        before = json.loads((output / SUMMARY).read_text(encoding="utf-8")).get("prepared")
    except (FileNotFoundError, ValueError):
        return None
    # By another key the bytes may be the same: a tokenizer with a file more.
    if not before or before["key"] == prepared.key or before["files"] == prepared.about["files"]:
        return None
    try:
        about = json.loads((prepared.folder.parent / before["key"][:16] / ABOUT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return ""
    names = ", ".join(all_differences(about["made_from"], prepared.about["made_from"]))
    return f": {names}" if names else ""


def _write_summary(output: Path, summary: dict[str, Any]) -> None:
    (output / SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _finish(output: Path, state: Any, metrics: dict[str, Any], records: Records) -> None:
    outcome.write_metrics(output, metrics, epoch=state.epoch, tokens=int(state.num_input_tokens_seen))
    try:
        outcome.draw_loss(output, state.log_history)
    except ImportError as error:
        _tell(f"no training_loss.png: {error}")
    records.end(state.global_step, state.epoch, metrics)


def _newest_checkpoint(config: EngineConfig, output: Path, device: Any) -> int | None:
    """The newest step whose checkpoint is good on all nodes; None when there is none, then training starts anew."""
    good = checkpoint.good_steps(output)[-64:]
    told = group.gather([*good, *[-1] * (64 - len(good))], device).tolist()
    step = checkpoint.newest_common([step for step in mine if step >= 0] for mine in told)
    if step is None:
        _tell("no good checkpoint on all nodes: starting from the beginning")
        return None
    marker = checkpoint.read_marker(output / f"checkpoint-{step}")
    if marker is not None and marker.world_size != config.world_size:
        raise EngineError(
            f"checkpoint-{step} is of {marker.world_size} processes, this run has {config.world_size}",
            hint="resume with the same nodes and devices_per_node",
        )
    _tell(f"continuing from checkpoint-{step}")
    return step


def _assert_world(config: EngineConfig) -> None:
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != config.world_size:
        raise EngineError(f"launched with {launched} processes, planned were {config.world_size}")
    # DeepSpeed looks for MPI without these, also for a single process started by hand.
    for name, value in (
        ("RANK", "0"),
        ("LOCAL_RANK", "0"),
        ("WORLD_SIZE", "1"),
        ("MASTER_ADDR", "127.0.0.1"),
        ("MASTER_PORT", "29500"),
    ):
        if config.world_size == 1:
            os.environ.setdefault(name, value)


def _import_plugin(device: str) -> None:
    plugin = DEVICES[device].plugin
    if plugin is not None:
        try:
            importlib.import_module(plugin)
        except ImportError as error:
            raise EngineError(f"{plugin} cannot be imported: {error}", hint="see docs/devices.md") from error


def _assert_device(config: EngineConfig, found: str) -> None:
    wanted = DEVICES[config.device].torch_name
    if found != wanted:
        raise EngineError(f"cluster.device is {config.device}, but torch found {found} here")


def _digest(config: EngineConfig, tokenizer: Tokenizer, prepared: Prepared) -> str:
    vocabulary = repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(f"{prepared.digest}{vocabulary}{config.train}".encode()).hexdigest()


def _tell(text: str) -> None:
    if ranklog.rank() == 0:
        print(text, file=sys.stdout, flush=True)  # noqa: T201
