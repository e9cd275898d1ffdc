"""One open SSH connection: commands with both streams drained, files written aside and renamed."""

from __future__ import annotations

import logging
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

import paramiko

from llmctl.errors import NodeError
from llmctl.recipe.hosts import Node
from llmctl.remote.hostkeys import HostKey
from llmctl.remote.transport import CommandResult

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it would print tracebacks of what is told here

CHUNK = 1 << 15
GRACE = 5.0
"""Seconds by which the launcher waits longer than the node's own `timeout`."""


class SshTransport:
    """A Transport over paramiko. Close it in a `finally`; half-open connections fill a server's MaxStartups."""

    def __init__(self, node: Node, transport: paramiko.Transport, *, behind: SshTransport | None = None) -> None:
        self.node = node
        self._transport = transport
        self._behind = behind
        transport.set_keepalive(15)

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
        self._transport.close()
        if self._behind is not None:
            self._behind.close()

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:
        """Run `command` with the node's sh. After `timeout` seconds it is ended there and NodeError is raised."""
        wrapped = f"timeout -k 5 {timeout:.3f} sh -c {shlex.quote(command)}"
        started = time.monotonic()
        bare = f"if command -v timeout >/dev/null; then {wrapped}; else sh -c {shlex.quote(command)}; fi; exit $?"
        code, out, err = self._execute(f"exec sh -c {shlex.quote(bare)}", [stdin] if stdin else [], timeout + GRACE)
        if code == 124 and time.monotonic() - started >= timeout:
            raise self._late(command, timeout)
        return CommandResult(code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def stream(
        self, command: str, pieces: Iterable[bytes] = (), *, told: Callable[[str], None], idle: float = 120.0
    ) -> CommandResult:
        """Run `command` with the node's sh while `pieces` go to its standard input; `told` gets each line of its output
        as it comes. The result's stdout is empty.

        Raises NodeError when the connection is lost or no byte has moved for `idle` seconds; what `pieces` raises ends
        the command and is raised here."""
        channel = self._session(30.0)
        err: list[bytes] = []
        failed: list[BaseException] = []
        moved = [time.monotonic()]

        def sent() -> Iterator[bytes]:
            try:
                for piece in pieces:
                    for at in range(0, len(piece), CHUNK):
                        yield piece[at : at + CHUNK]
                        moved[0] = time.monotonic()
            except Exception as error:  # noqa: BLE001 - raised below, by the caller's thread
                failed.append(error)
                channel.close()

        def heard(size: int) -> bytes:
            data = channel.recv(size)
            moved[0] = time.monotonic()
            return data

        jobs: tuple[Callable[[], None], ...] = (
            lambda: _lines(heard, told),
            lambda: _drain(channel.recv_stderr, err),
            lambda: _feed(channel, sent()),
        )
        threads = [threading.Thread(target=job, daemon=True) for job in jobs]
        try:
            channel.exec_command(f"exec sh -c {shlex.quote(command)}")
            for thread in threads:
                thread.start()
            while threads[0].is_alive():
                threads[0].join(max(0.05, moved[0] + idle - time.monotonic()))
                if threads[0].is_alive() and time.monotonic() - moved[0] >= idle:
                    raise self._silent(idle)
            threads[1].join(5)
            if failed:
                raise failed[0]
            if not channel.status_event.wait(5) or channel.exit_status < 0:
                raise self._lost()
            return CommandResult(channel.exit_status, "", b"".join(err).decode("utf-8", "replace"))
        except (paramiko.SSHException, EOFError) as error:
            raise self._lost() from error
        finally:
            channel.close()
            for thread in threads:
                if thread.ident is not None:
                    thread.join(1)

    def put(self, files: Mapping[str, bytes | Path], *, mode: int = 0o644) -> None:
        """Write files on the node: each aside, synced, renamed. Nothing is left of a file that fails."""
        if not files:
            return
        token = secrets.token_hex(4)
        aside = {name: _aside(name, token) for name in files}
        folders = sorted({str(PurePosixPath(name).parent) for name in files})
        try:
            self._sh("mkdir -p -- " + _words(folders))
            self._upload({aside[name]: content for name, content in files.items()})
            moves = " && ".join(f"mv -f -- {_words([aside[name], name])}" for name in files)
            temporary = _words(aside.values())
            self._sh(f"chmod {mode:o} -- {temporary} && {{ sync -- {temporary} 2>/dev/null || sync; }} && {moves}")
        except NodeError:
            with suppress(NodeError):
                self.run("rm -f -- " + _words(aside.values()))
            raise

    def get(self, remote: str, local: Path) -> None:
        """Copy one remote file to `local`, written aside and renamed. Raises NodeError when it is not there."""
        local.parent.mkdir(parents=True, exist_ok=True)
        part = local.with_name(f".{local.name}.{secrets.token_hex(4)}")
        try:
            sftp = self._sftp()
            if sftp is None:
                code, out, err = self._execute(f"cat -- {shlex.quote(remote)}", [], 3600)
                if code:
                    raise self._failed("reading a file", remote, err.decode("utf-8", "replace"))
                part.write_bytes(out)
            else:
                try:
                    sftp.get(remote, str(part))
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

    def _sh(self, command: str) -> None:
        result = self.run(command, timeout=300)
        if not result.ok:
            raise self._failed("writing files", "", result.stderr.strip())

    def _sftp(self) -> paramiko.SFTPClient | None:
        try:
            return paramiko.SFTPClient.from_transport(self._transport)
        except (paramiko.SSHException, EOFError):
            if not self._transport.is_active():
                raise self._lost() from None
            return None

    def _upload(self, files: Mapping[str, bytes | Path]) -> None:
        sftp = self._sftp()
        if sftp is None:
            for name, content in files.items():
                code, _, err = self._execute(f"cat > {shlex.quote(name)}", _pieces(content), 3600)
                if code:
                    raise self._failed("writing a file", _meant(name), err.decode("utf-8", "replace").strip())
            return
        name = ""
        try:
            for name, content in files.items():
                with sftp.open(name, "wb") as file:
                    file.set_pipelined(True)
                    for piece in _pieces(content):
                        file.write(piece)
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

    def _session(self, timeout: float) -> paramiko.Channel:
        try:
            return self._transport.open_session(timeout=timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost() from error

    def _execute(self, line: str, stdin: Iterable[bytes], timeout: float) -> tuple[int, bytes, bytes]:
        """Run one line; both streams are read while it runs, so that no window fills up."""
        channel = self._session(min(30.0, timeout))
        out: list[bytes] = []
        err: list[bytes] = []
        threads: list[threading.Thread] = []
        deadline = time.monotonic() + timeout
        try:
            channel.exec_command(line)
            jobs: tuple[Callable[[], None], ...] = (
                lambda: _drain(channel.recv, out),
                lambda: _drain(channel.recv_stderr, err),
                lambda: _feed(channel, stdin),
            )
            threads = [threading.Thread(target=job, daemon=True) for job in jobs]
            for thread in threads:
                thread.start()
            for thread in threads[:2]:
                thread.join(max(0.0, deadline - time.monotonic()))
            if any(thread.is_alive() for thread in threads[:2]):
                raise self._late(line, timeout)
            if not channel.status_event.wait(max(1.0, deadline - time.monotonic())) or channel.exit_status < 0:
                raise self._lost()
            return channel.exit_status, b"".join(out), b"".join(err)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost() from error
        finally:
            channel.close()
            for thread in threads:
                thread.join(1)

    def _late(self, command: str, timeout: float) -> NodeError:
        first = command.splitlines()[0][:80] if command else ""
        return NodeError(f"no end after {timeout:g} s", where=self.node.name, why=f"running: {first}")

    def _silent(self, idle: float) -> NodeError:
        return NodeError(
            f"nothing has moved for {idle:g} s",
            where=self.node.name,
            hint=f"see whether it answers: llmctl check {self.node.name}",
        )

    def _lost(self) -> NodeError:
        return NodeError(
            "the connection was lost",
            where=self.node.name,
            hint=f"see whether it answers: llmctl check {self.node.name}",
        )

    def _failed(self, what: str, name: str, why: str) -> NodeError:
        return NodeError(f"{what} failed", where=f"{self.node.name}:{name}" if name else self.node.name, why=why)


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


def _drain(receive: Callable[[int], bytes], sink: list[bytes]) -> None:
    while data := receive(CHUNK):
        sink.append(data)


def _lines(receive: Callable[[int], bytes], told: Callable[[str], None]) -> None:
    held = b""
    while data := receive(CHUNK):
        *whole, held = (held + data).split(b"\n")
        for line in whole:
            told(line.decode("utf-8", "replace"))
    if held:
        told(held.decode("utf-8", "replace"))


def _feed(channel: paramiko.Channel, pieces: Iterable[bytes]) -> None:
    with suppress(OSError, EOFError, paramiko.SSHException):  # the command may end without reading all of it
        for piece in pieces:
            channel.sendall(piece)
        channel.shutdown_write()
