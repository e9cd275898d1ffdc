"""The recipe's settings in transformers' words."""

from __future__ import annotations

from typing import Any

from transformers import TrainingArguments

from llmctl_engine.config import EngineConfig
from llmctl_engine.devices import DEVICES


def training_arguments(config: EngineConfig, deepspeed: dict[str, Any] | None) -> TrainingArguments:
    """TrainingArguments; making them starts the process group.

    `logging_nan_inf_filter` is off, since it shows a NaN loss as 0. The optimizer is torch's plain AdamW, which every
    device has."""
    train = config.train
    # Only named where wanted: transformers 5.23 warns of the name, earlier versions know no other.
    checkpointing: dict[str, Any] = (
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
        if train.gradient_checkpointing
        else {}
    )
    return TrainingArguments(
        output_dir=config.output_dir,
        per_device_train_batch_size=train.micro_batch,
        gradient_accumulation_steps=train.grad_accum,
        learning_rate=train.learning_rate,
        num_train_epochs=train.epochs,
        max_steps=train.max_steps,
        lr_scheduler_type=train.scheduler,
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        bf16=train.precision == "bf16",
        fp16=train.precision == "fp16",
        seed=train.seed,
        logging_steps=train.logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps" if train.save_steps else "no",
        save_steps=train.save_steps or 500,
        optim="adamw_torch",
        average_tokens_across_devices=True,
        use_cpu=config.device == "cpu",
        ddp_backend=DEVICES[config.device].collective if config.world_size > 1 else None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=config.device != "cpu",
        remove_unused_columns=False,
        deepspeed=deepspeed,
        disable_tqdm=True,
        report_to="none",
        **checkpointing,
    )
