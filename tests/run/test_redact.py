"""Secrets and names are taken out of texts, in whatever form they stand there."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from llmctl.run.redact import MASK, Redactor, is_secret_name, secret_values


def redact(text: str) -> str:
    return Redactor().text(text).text


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "token", "hfToken", "WANDB_API_KEY", "apiKey", "api-key", "password",
     "DB_PASS", "MYSQL_PWD", "ansible_ssh_pass", "AWS_SECRET_ACCESS_KEY", "Authorization", "set_cookie", "SSH_KEY",
     "X-Amz-Signature"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["pad_token", "eos_token", "tokens", "tokens_per_second", "tokenizer", "max_new_tokens", "pad_token_id", "key",
     "pass",
     "PWD", "OLDPWD", "TOKENIZERS_PARALLELISM", "HF_TOKEN_PATH", "password_file", "keys", "monkey", "compass", ""],
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "export HF_TOKEN={}",
        "HF_TOKEN='{}' python x",
        'env: {{"HF_TOKEN": "{}"}}',
        "{{'wandb_api_key': '{}', 'x': 1}}",
        r'"cmd": "export A=\"b\" && export HF_TOKEN=\"{}\" && echo"',
        r'"env": "{{\"MY_SECRET\": \"{} with more words\"}}"',
        "password: {} and words\n",
        "  --hf-token {} --lr 1",
        "--password='{}'",
        "curl -H 'Authorization: Bearer {}'",
        "setenv HF_TOKEN {}",
        "https://me:{}@host.example/x.git",
        "https://{}@host.example/x.git",
        "git+https://me:a/{}@host.example/x",
        "postgres://u:x@{}@h/db",
        "machine h login me password {}",
        "machine h\n  login me\n  password {}\n",
        "sshpass -p {} ssh node1",
        "https://h/x?access_token={}&y=1",
        'tokens: {{"token": "{}"}}',
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
        "x -----BEGIN OPENSSH PRIVATE KEY-----\n{}\nthe text ends here",
        "AAAAAAAAAAAAAAAAAAAAAAA\n{}{}\n-----END PRIVATE KEY-----\n",
        r'"key": "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----"',
    ],
)
def test_secrets_are_found_by_where_they_stand(text: str) -> None:
    filled = text.replace("{}", "abcdef0123456789").replace("{{", "{").replace("}}", "}")
    cleaned = redact(filled)
    assert "abcdef0123456789" not in cleaned
    assert MASK in cleaned
    assert Redactor().text(filled).masked >= 1
    assert redact(cleaned) == cleaned


@pytest.mark.parametrize(
    "token",
    ["hf_" + "a" * 34, "ghp_" + "A1" * 18, "github_pat_" + "a1" * 20, "glpat-" + "x" * 20, "sk-" + "a" * 40,
     "AKIA" + "A1" * 8, "xoxb-1234567890", "eyJhbGciOiJ9.eyJzdWIiOiIx.sig"],
)  # fmt: skip
def test_secrets_are_found_by_their_looks(token: str) -> None:
    assert redact(f"got {token}, then went on") == f"got {MASK}, then went on"


@pytest.mark.parametrize(
    "text",
    [
        '{"step": 3, "loss": 0.5, "tokens": 4096, "tokens_per_second": 81.5}',
        '"pad_token": "</s>", "eos_token_id": 2, "token": 17',
        '"end_in_the_text": {"token": "<|im_end|>", "rows": 2}, "e": {"token": "</s>"}, token: <｜end▁of▁sentence｜>',
        "git@host.example:me/x.git and ssh host:22",
        "http://10.0.0.1:8080/a?b=c",
        "--lr 1e-5 --tokens 5 -p 22",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHwy me@node1",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        "/usr/local/Ascend/ascend-toolkit/latest/opp/built-in/op_impl",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "RuntimeError: HCCL 12:30:45 [ERROR] EI0006: a::b timed out",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text
    assert Redactor().text(text).masked == 0


secrets = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=24).filter(
    lambda text: len(text.strip()) >= 8 and MASK not in text
)


@given(secrets)
def test_a_known_secret_is_found_in_every_spelling(secret: str) -> None:
    redactor = Redactor([secret])
    spellings = [
        secret,
        shlex.quote(secret),
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
        json.dumps(f"export X={shlex.quote(secret)}"),
        urllib.parse.quote(secret),
        urllib.parse.quote_plus(secret),
        "'" + secret.replace("'", "''") + "'",
        base64.b64encode(f"X={secret} and more".encode()).decode(),
    ]
    for spelling in spellings:
        cleaned = redactor.text(f"before {spelling} behind").text
        assert secret not in cleaned
        assert json.dumps(secret)[1:-1] not in cleaned
        assert MASK in cleaned


def test_a_secret_of_several_lines_is_found_line_by_line() -> None:
    redactor = Redactor(["first line of it\nsecond line of it"])
    cleaned = redactor.text("a second line of it b\nfirst line of it\n").text
    assert cleaned == f"a {MASK} b\n{MASK}\n"


@pytest.mark.parametrize("value", ["<|abc123def456|>", "<|secret|>x", "<s>rest", "<abcdefghijklmnop>", "<|two words|>"])
@pytest.mark.parametrize("form", ['{{"token": "{}"}}', "HF_TOKEN={}", "token: {}\n"])
def test_what_only_looks_a_little_like_a_mark_of_a_tokenizer_is_masked(value: str, form: str) -> None:
    assert value not in redact(form.format(value))


def test_a_mark_of_a_tokenizer_is_masked_where_it_is_named_a_password_or_known_as_a_secret() -> None:
    assert redact('{"password": "<|im_end|>"}') == f'{{"password": "{MASK}"}}'
    assert Redactor(["<|im_end|>"]).text('{"token": "<|im_end|>"}').text == f'{{"token": "{MASK}"}}'


def test_short_values_are_masked_only_where_they_are_named() -> None:
    secret = secret_values({"HF_TOKEN": "abc", "LR": 1, "PASSWORD": None})
    assert secret == {"abc"}
    assert Redactor(secret).text("HF_TOKEN=abc abcd").text == f"HF_TOKEN={MASK} abcd"


def test_names_and_addresses_get_one_stand_in_each() -> None:
    redactor = Redactor(names={"node1": "host1", "node1.lan": "host1", "alice": "user1"}, addresses=True)
    text = "alice@node1 node1.lan node10 /home/alice/x 10.0.0.1 10.0.0.2 10.0.0.1 127.0.0.1 fe80::1 "
    text += "aa:bb:cc:dd:ee:ff a@b.cn"
    assert redactor.text(text).text == (
        "user1@host1 host1 node10 /home/user1/x ip-1 ip-2 ip-1 127.0.0.1 ip6-1 mac-1 email-1"
    )
    assert redactor.text("x 10.0.0.2 12:30:45").text == "x ip-2 12:30:45"
    code = "if os.fork() == 0: argv[1:] x[1::2] ${1:?usage} a::b dead::beef torch 2.6.0 driver 25.0.rc1.1 7.7.0.1.231"
    assert redactor.text(code).text == code
    assert redactor.text("2001:db8::7 [fe80::1]:22 1:2:3:4:5:6:7:8").text == "ip6-2 [ip6-1]:22 ip6-3"
    assert redactor.name("logs/node1/rank0.log") == "logs/host1/rank0.log"
    hidden = base64.urlsafe_b64encode(json.dumps({"node1": [0, 1]}).encode()).decode()
    assert redactor.text(f"--world_info={hidden}").text == f"--world_info={MASK}"


def test_masked_files_stay_what_they_are() -> None:
    text = json.dumps({"env": {"HF_TOKEN": "abc'\"def", "A": "b"}, "password": 12, "x": 1})
    assert json.loads(redact(text)) == {"env": {"HF_TOKEN": MASK, "A": "b"}, "password": MASK, "x": 1}
    yaml = "env:\n  HF_TOKEN: abcdef\n  B: c\n"
    assert YAML(typ="safe").load(redact(yaml))["env"]["B"] == "c"
    script = "export HF_TOKEN='a b'\nexport B='c d'\necho \"$B\"\n"
    done = subprocess.run(["sh", "-c", redact(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "c d\n"


def test_long_texts_take_no_forever() -> None:
    redactor = Redactor(["abcdefgh1234"], {"node1": "host1"}, addresses=True)
    for piece in ("A", "token ", 'password="', 'password=\\"', "a.b+c", "://a@", "a:b:", "\\", "A" * 30 + "\n"):
        text = piece * (200_000 // len(piece))
        assert len(redactor.text(text).text) <= 3 * len(text)
