"""`llmctl recipes templates`, as a person types it."""

from __future__ import annotations

import json

from llmctl_engine.templates import TEMPLATES

from tests.conftest import RunLlmctl


def test_all_templates_are_listed(run_llmctl: RunLlmctl) -> None:
    rows = json.loads(run_llmctl("recipes", "templates", "--json", code=0).stdout)
    assert {row["name"] for row in rows} == set(TEMPLATES)
    baichuan = next(row for row in rows if row["name"] == "baichuan@0.2.0")
    assert baichuan["user"] == ["<reserved_102>", "{}", "<reserved_103>"]
    assert baichuan["needs"] == ["<reserved_102>", "<reserved_103>"]
    assert (baichuan["start"], baichuan["efficient_eos"], baichuan["cutoff_rule"]) == (["<bos>"], True, "lf02")
    llama3 = next(row for row in rows if row["name"] == "llama3@0.9.5")
    assert llama3["observation"][0].startswith("<|start_header_id|>ipython<|end_header_id|>\n\n{}")
    assert (llama3["function"], baichuan["observation"]) == (None, None)


def test_one_template_is_told_in_a_table(run_llmctl: RunLlmctl) -> None:
    text = run_llmctl("recipes", "templates", "llama2", code=0).stdout
    assert text.count("llama2@") == 3
    assert "[INST] {} [/INST]" in text


def test_an_unknown_template_is_told(run_llmctl: RunLlmctl) -> None:
    told = run_llmctl("recipes", "templates", "lama", code=2).stderr
    assert told.startswith("llmctl: no template lama")
    assert "xverse" in told
