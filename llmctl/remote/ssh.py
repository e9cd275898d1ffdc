"""One open SSH connection: commands with both streams drained, files written aside and renamed."""

from __future__ import annotations

import logging
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

import paramiko

from llmctl.errors import NodeError
from llmctl.recipe.hosts import Node
from llmctl.remote.bundle import bundles
from llmctl.remote.command import CHUNK, Sink, converse, late, within
from llmctl.remote.hostkeys import HostKey
from llmctl.remote.streaming import stream
from llmctl.remote.transport import CommandResult
from llmctl.remote.vouching import ask_over_and_over

T = TypeVar("T")

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it would print tracebacks of what is told here

KILL = 5
"""Seconds between TERM and KILL for a command that ran too long."""
GRACE = KILL + 3.0
"""Seconds by which the launcher waits longer than the node's own `timeout`."""
OPEN_TIMEOUT = 15.0
"""Seconds for a server to open a channel."""
SFTP_PATIENCE = 60.0
"""Seconds without any answer of an sftp server."""
BEAT = 5
"""Seconds without a word to a server after which it is sent one, so that a cut is found while a command works
silently."""
UNANSWERED = 20.0
"""Seconds for which nothing that was sent may be acknowledged before the connection counts as cut. The kernels
acknowledge, so a stopped sshd or a busy node loses none; a packet that is lost is sent again five times by then. Behind
a jump host the node's sshd is asked instead."""
POLL = 2.0
"""Seconds between two looks of a connection's thread at whether it is still wanted: paramiko's own 0.1 would cost a
quarter of the launcher's time on 64 nodes that work silently."""


class SshTransport:
    """A Transport over paramiko. Close it in a `finally`; half-open connections fill a server's MaxStartups."""

    def __init__(self, node: Node, transport: paramiko.Transport, *, behind: Way | None = None) -> None:
        self.node = node
        self._transport = transport
        self._behind = behind
        transport.set_keepalive(BEAT)
        transport.sock.settimeout(POLL)
        if behind is not None:
            ask_over_and_over(transport, self.close, beat=BEAT, patience=UNANSWERED)
        elif isinstance(transport.sock, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNANSWERED * 1000))

    @property
    def host_key(self) -> HostKey:
        """The verified key of this server."""
        key = self._transport.get_remote_server_key()
        return HostKey(key.get_name(), key.get_base64())

    @property
    def user(self) -> str:
        """The login name on the node."""
        return self._transport.get_username() or ""

    def close(self) -> None:
        with suppress(OSError, EOFError):  # wakes the connection's thread, which waits for POLL otherwise
            self._transport.sock.shutdown(socket.SHUT_RDWR)
        self._transport.close()
        behind, self._behind = self._behind, None  # let go of once, however often this is called
        if behind is not None:
            behind.close()

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:
        """Run `command` with the node's sh. After `timeout` seconds it is ended there and NodeError is raised."""
        words = f"sh -c {shlex.quote(command)}"
        line = (
            f"if command -v timeout >/dev/null; then timeout -k {KILL} {timeout:.3f} {words}; else {words}; fi; exit $?"
        )
        started = time.monotonic()
        code, out, err = self._execute(line, [stdin] if stdin else [], timeout + GRACE, name=command)
        if code in (124, 137) and time.monotonic() - started >= timeout:
            raise late(self.node.name, command, timeout)
        return CommandResult(code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def stream(
        self, command: str, pieces: Iterable[bytes] = (), *, told: Callable[[str], None], idle: float = 120.0
    ) -> CommandResult:
        """Run `command` with the node's sh while `pieces` go to its standard input; `told` gets each line of its output
        as it comes. The result's stdout is empty.

        Raises NodeError when the connection is lost or no byte has moved for `idle` seconds; what `pieces` raises ends
        the command and is raised here."""
        return self._asked(
            lambda channel: stream(
                channel, command, pieces, node=self.node.name, told=told, idle=idle, drop=self.close
            ),
            OPEN_TIMEOUT,
        )

    def put(self, files: Mapping[str, bytes | Path], *, mode: int = 0o644) -> None:
        """Write files on the node: each aside, synced, renamed. Nothing is left of a file that fails."""
        if not files:
            return
        token = secrets.token_hex(4)
        aside = {name: _aside(name, token) for name in files}
        folders = sorted({str(PurePosixPath(name).parent) for name in files})
        try:
            self._sh("mkdir -p -- " + _words(folders))
            self._upload({aside[name]: content for name, content in files.items()}, private=not mode & 0o077)
            moves = " && ".join(f"mv -f -- {_words([aside[name], name])}" for name in files)
            temporary = _words(aside.values())
            self._sh(f"chmod {mode:o} -- {temporary} && {{ sync -- {temporary} 2>/dev/null || sync; }} && {moves}")
        except NodeError:
            with suppress(NodeError):
                self._sh("rm -f -- " + _words(aside.values()))
            raise

    def get(self, remote: str, local: Path, *, moved: Callable[[int], None] = lambda _: None) -> None:
        """Copy one remote file to `local`, written aside and renamed; `moved` is told of the bytes that have come.
        Raises NodeError when it is not there."""
        local.parent.mkdir(parents=True, exist_ok=True)
        part = local.with_name(f".{local.name}.{secrets.token_hex(4)}")
        try:
            sftp = self._sftp()
            if sftp is None:
                with part.open("wb") as file:
                    counted = _Counted(file, moved)
                    code, _, err = self._execute(f"cat -- {shlex.quote(remote)}", [], 3600, into=counted)
                if code:
                    raise self._failed("reading a file", remote, err.decode("utf-8", "replace").strip())
            else:
                try:
                    sftp.get(remote, str(part), callback=lambda done, _: moved(done))
                except (OSError, paramiko.SSHException) as error:
                    raise self._failed("reading a file", remote, str(error)) from error
                finally:
                    sftp.close()
            part.replace(local)
        finally:
            part.unlink(missing_ok=True)

    def open_stream(self, address: str, port: int) -> paramiko.Channel:
        """A TCP stream from this node on to another one (a jump). Raises NodeError when it cannot be opened."""
        try:
            return self._transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=15)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._failed("opening the way on", f"{address}:{port}", str(error)) from error

    def _sh(self, script: str) -> None:
        """Run a script that names many files: on standard input, since one argument holds 128 KiB at most."""
        result = self.run("sh -s", stdin=script.encode("utf-8", "surrogateescape"), timeout=300)
        if not result.ok:
            raise self._failed("writing files", "", result.stderr.strip())

    def _sftp(self) -> paramiko.SFTPClient | None:
        """A client; None where there is no sftp, or the login shell's own output spoils it."""
        try:
            channel = self._transport.open_session(timeout=OPEN_TIMEOUT)
        except (paramiko.SSHException, EOFError) as error:
            raise self._lost() from error
        try:
            channel.settimeout(SFTP_PATIENCE)
            within(OPEN_TIMEOUT, lambda: channel.invoke_subsystem("sftp"), self.close)
            return paramiko.SFTPClient(channel)
        except TimeoutError as error:
            raise self._silent(OPEN_TIMEOUT) from error
        except (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError):
            channel.close()
            if not self._transport.is_active():
                raise self._lost() from None
            return None

    def _upload(self, files: Mapping[str, bytes | Path], *, private: bool) -> None:
        """`private`: what is secret is nobody else's to read from its first byte on."""
        together, rest = bundles(files)
        for bundle in together:
            code, _, _ = self._execute(bundle.command(private=private), _pieces(bundle.content()), 3600)
            if code:
                rest.update(bundle.files)  # one by one it tells which, and why
        if rest:
            self._one_by_one(rest, private=private)

    def _one_by_one(self, files: Mapping[str, bytes | Path], *, private: bool) -> None:
        sftp = self._sftp()
        if sftp is None:
            mask = "umask 077; " if private else ""
            for name, content in files.items():
                code, _, err = self._execute(f"{mask}cat > {shlex.quote(name)}", _pieces(content), 3600)
                if code:
                    raise self._failed("writing a file", _meant(name), err.decode("utf-8", "replace").strip())
            return
        name = ""
        try:
            for name, content in files.items():
                with sftp.open(name, "wb") as file:
                    if private:
                        file.chmod(0o600)
                    file.set_pipelined(True)
                    sent = 0
                    for piece in _pieces(content):
                        file.write(piece)
                        sent += len(piece)
                    file.flush()
                    # Refusals of the last pieces are told to nobody.
                    if file.stat().st_size != sent:
                        raise OSError(f"only {file.stat().st_size} of {sent} bytes were taken")
        except (OSError, paramiko.SSHException, EOFError) as error:
            if not self._transport.is_active():
                raise self._lost() from error
            raise self._failed("writing a file", _meant(name), f"{error}; {self._space(name)}") from error
        finally:
            with suppress(OSError, EOFError, paramiko.SSHException):
                sftp.close()

    def _space(self, name: str) -> str:
        """How full the file system of a file is: sftp calls a full disk only `Failure`."""
        line = self.run(f"df -Pk -- {shlex.quote(str(PurePosixPath(name).parent))} | tail -n 1").stdout.split()
        if len(line) < 6:
            return "the state of its file system is not known"
        return f"{int(line[3]) // 1024} of {int(line[1]) // 1024} MiB are free on {line[5]}"

    def _execute(
        self, line: str, stdin: Iterable[bytes], timeout: float, *, into: Sink | None = None, name: str = ""
    ) -> tuple[int, bytes, bytes]:
        return self._asked(
            lambda channel: converse(
                channel, line, stdin, node=self.node.name, timeout=timeout, drop=self.close, into=into, name=name
            ),
            min(OPEN_TIMEOUT, timeout),
        )

    def _asked(self, work: Callable[[paramiko.Channel], T], patience: float) -> T:
        """Do `work` on a channel of its own. Raises NodeError when the connection is lost, or the server opens no
        channel within `patience` seconds."""
        started = time.monotonic()
        try:
            channel = self._transport.open_session(timeout=patience)
        except (paramiko.SSHException, EOFError, OSError) as error:
            if self._transport.is_active() and time.monotonic() - started >= patience:
                raise self._silent(patience) from error
            raise self._lost() from error
        try:
            return work(channel)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost() from error

    def _silent(self, seconds: float) -> NodeError:
        return NodeError(
            "it does not answer any more",
            where=self.node.name,
            why=f"the connection stands, but no command began within {seconds:g} s",
            hint=f"is the machine overloaded or stopped? ssh {self.node.name} uptime",
        )

    def _lost(self) -> NodeError:
        return NodeError(
            "the connection was lost",
            where=self.node.name,
            hint=f"see whether it answers: llmctl check {self.node.name}",
        )

    def _failed(self, what: str, name: str, why: str) -> NodeError:
        return NodeError(f"{what} failed", where=f"{self.node.name}:{name}" if name else self.node.name, why=why)


class _Counted:
    """A file that tells how much was written to it."""

    def __init__(self, file: BinaryIO, moved: Callable[[int], None]) -> None:
        self._file, self._moved = file, moved

    def write(self, data: bytes, /) -> None:
        self._file.write(data)
        self._moved(self._file.tell())


class Way:
    """A connection to a jump host that `users` connections share; the last one that lets go closes it."""

    def __init__(self, transport: SshTransport, *, users: int = 1) -> None:
        self._transport = transport
        self._users = users
        self._lock = threading.Lock()

    def open_stream(self, address: str, port: int) -> paramiko.Channel:
        """See `SshTransport.open_stream`."""
        return self._transport.open_stream(address, port)

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self._transport.close()


def _aside(name: str, token: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f".{path.name[:200]}.{token}"))


def _meant(aside: str) -> str:
    path = PurePosixPath(aside)
    return str(path.with_name(path.name[1:].rpartition(".")[0]))


def _words(names: Iterable[str]) -> str:
    return " ".join(shlex.quote(name) for name in names)


def _pieces(content: bytes | Path) -> Iterable[bytes]:
    if isinstance(content, bytes):
        yield from (content[at : at + CHUNK] for at in range(0, len(content), CHUNK))
        return
    with content.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece
