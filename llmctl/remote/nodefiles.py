"""The files on a node that setup-nodes may change: read in one go, written only when they differ."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from llmctl.errors import NodeError
from llmctl.remote.secret import Secret
from llmctl.remote.transport import Transport

KEY = "llmctl_ed25519"
"""In ~/.ssh: the pair that a node makes for its own logins."""
KNOWN_HOSTS = "llmctl_known_hosts"
HOSTS = "/etc/hosts"

_READ = r"""
say() { printf '%s %s\n' "$1" "$(printf %s "$2" | base64 | tr -d '\n')"; }
file() { if [ -e "$1" ]; then printf 'file %s %s ' "$1" "$(stat -c %a "$1")"; base64 < "$1" | tr -d '\n'; echo; fi; }
say uid "$(id -u)"; say home "$HOME"; say hostname "$(hostname 2>/dev/null || cat /etc/hostname)"
say python "$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)"
say pdsh "$(pdsh -V 2>/dev/null | sed -n 's/^pdsh-\([0-9.]*\).*/\1/p')"
say sudo "$(sudo -n true 2>/dev/null && echo yes)"
say ssh "$(command -v ssh)"
[ -d "$HOME/.ssh" ] && say sshdir "$(stat -c %a "$HOME/.ssh")"
cd "$HOME" || exit 1
for name in authorized_keys config llmctl_known_hosts llmctl_ed25519.pub; do file ".ssh/$name"; done
file /etc/hosts
"""


@dataclass(frozen=True, kw_only=True)
class NodeFiles:
    """What was found on a node. File names are relative to the home folder or absolute."""

    uid: int
    home: str
    hostname: str
    python: str
    """The interpreter's version; empty when there is none."""
    pdsh: str
    sudo: bool
    ssh: bool
    ssh_dir_mode: str | None
    texts: Mapping[str, str]
    modes: Mapping[str, str]

    def text(self, name: str) -> str:
        """A file's text; empty when there is no such file."""
        return self.texts.get(name, "")


def read_files(transport: Transport, python: str = "python3") -> NodeFiles:
    """Look at a node in one round trip; `python` is the interpreter whose version counts.

    Raises NodeError when even sh cannot do it."""
    result = transport.run(_READ.replace("python3", shlex.quote(python)))
    facts: dict[str, str] = {}
    texts: dict[str, str] = {}
    modes: dict[str, str] = {}
    for line in result.stdout.splitlines():
        words = line.split(" ")
        if words[0] == "file":
            texts[words[1]] = base64.b64decode(words[3]).decode("utf-8", "surrogateescape")
            modes[words[1]] = words[2]
        elif len(words) == 2:
            facts[words[0]] = base64.b64decode(words[1]).decode("utf-8", "replace").strip()
    if not result.ok or not facts.get("home") or not facts.get("uid", "").isdigit():
        raise NodeError("looking at the node failed", where=transport.node.name, why=result.stderr.strip()[-300:])
    return NodeFiles(
        uid=int(facts["uid"]),
        home=facts["home"],
        hostname=facts["hostname"],
        python=facts["python"],
        pdsh=facts["pdsh"],
        sudo=bool(facts["sudo"]),
        ssh=bool(facts["ssh"]),
        ssh_dir_mode=facts.get("sshdir"),
        texts=texts,
        modes=modes,
    )


def make_pair(transport: Transport, comment: str) -> str:
    """The node's own public key line; the pair is made there when it is missing. The private key never travels."""
    script = (
        f"umask 077; mkdir -p ~/.ssh && cd ~/.ssh && {{ [ -f {KEY} ] || "
        f"ssh-keygen -q -t ed25519 -N '' -C {shlex.quote(comment)} -f {KEY} </dev/null >/dev/null; }} && cat {KEY}.pub"
    )
    result = transport.run(script)
    if not result.ok:
        raise NodeError("making a key pair failed", where=transport.node.name, why=result.stderr.strip()[-300:])
    return result.stdout.strip()


def write_home_file(transport: Transport, name: str, text: str) -> None:
    """Write a file under the home folder: aside, then renamed, mode 0600; through a link where it is one."""
    quoted = shlex.quote(name)
    script = (
        f"umask 077; mkdir -p ~/.ssh && cd && p=$(readlink -f {quoted}) && t=$p.llmctl-new && "
        '{ [ ! -e "$p" ] || cp -p "$p" "$t"; } && cat > "$t" && chmod 600 "$t" && '
        '{ sync "$t" 2>/dev/null || sync; } && mv -f "$t" "$p" || { rm -f "$t"; exit 1; }'
    )
    _must(transport, script, text, f"~/{name}")


def write_hosts(transport: Transport, text: str, *, sudo: bool, password: Secret | None = None) -> None:
    """Write /etc/hosts: renamed into place, or written in place where it is a mount (containers). With `sudo`, as root;
    `password` where sudo asks for one."""
    script = (
        f"t={HOSTS}.llmctl-new; cp -p {HOSTS} $t 2>/dev/null || cp {HOSTS} $t && cat > $t && "
        f"{{ mv -f $t {HOSTS} 2>/dev/null || {{ cat $t > {HOSTS} && rm -f $t; }}; }} || {{ rm -f $t; exit 1; }}"
    )
    if password is not None:
        _must(transport, _with_password(script), f"{password.reveal()}\n{_AFTER}\n{text}", HOSTS)
    else:
        _must(transport, f"sudo -n sh -c {shlex.quote(script)}" if sudo else script, text, HOSTS)


def sudo_takes(transport: Transport, password: Secret) -> bool:
    """Whether sudo makes this login root with `password`."""
    given = f"{password.reveal()}\n{_AFTER}\n"
    return transport.run(_with_password("true"), stdin=given.encode(), timeout=30).ok


_AFTER = "llmctl-after-the-password"


def _with_password(script: str) -> str:
    """Run a script by a sudo that takes the password from the first line of standard input. A sudo that did not ask
    would leave that line to the script, which then writes nothing."""
    guarded = f'IFS= read -r line; [ "$line" = {_AFTER} ] || exit 1; {script}'
    return f"sudo -k -S -p '' sh -c {shlex.quote(guarded)}"


def _must(transport: Transport, script: str, text: str, name: str) -> None:
    result = transport.run(script, stdin=text.encode("utf-8", "surrogateescape"))
    if not result.ok:
        why = result.stderr.strip()[-300:]
        raise NodeError("writing a file failed", where=f"{transport.node.name}:{name}", why=why)
