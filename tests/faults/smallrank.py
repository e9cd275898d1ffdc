"""A rank of the standard library in the place of the engine: it stands on the nodes as `cluster.python`.

Called as a launcher of ranks (`-m torch.distributed.run`, `-m deepspeed.launcher.launch`) it is one, called with
`-m llmctl_engine` it is a rank, and with anything else it becomes the real interpreter. A rank counts: it meets the
others once a step, writes the engine's records, keeps a counter in the engine's checkpoints, continues from them, and
saves on SIGTERM. It does what `orders/rank<N>` in the run folder of its node says:

    hang | stop | signal N | exit N | raise TEXT | print BYTES | escape | busy SECONDS

Environment: SMALLRANK_STEP, seconds of a step (0.1); SMALLRANK_TIMEOUT, seconds of patience with the others (1800);
SMALLRANK_PAYLOAD, bytes of a checkpoint (100000); SMALLRANK_TELL, begin of a path to which the rank's number is added,
where it writes its environment, arguments and folder.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

TORCHRUN, DEEPSPEED, RANK = "torch.distributed.run", "deepspeed.launcher.launch", "llmctl_engine"


class Group:
    """All ranks of a run, connected through rank 0 at the master address."""

    def __init__(self) -> None:
        self.rank, self.world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.patience = float(os.environ.get("SMALLRANK_TIMEOUT", "1800"))
        place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        self.peers: dict[int, socket.socket] = {}
        self._rest: dict[socket.socket, bytes] = {}
        if self.rank == 0:
            self._await_all(place[1])
        else:
            self.peers[0] = self._reach(place)
            self._send(self.peers[0], self.rank)

    def _await_all(self, port: int) -> None:
        with socket.create_server(("", port)) as server:
            deadline = time.monotonic() + self.patience
            while len(self.peers) < self.world - 1:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    link, _ = server.accept()
                except TimeoutError:
                    raise self._late() from None
                self._keep_alive(link)
                self.peers[int(self._receive(link))] = link

    def _reach(self, place: tuple[str, int]) -> socket.socket:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                link = socket.create_connection(place, timeout=min(5.0, self.patience))
            except OSError:
                if time.monotonic() > deadline:
                    raise self._late() from None
                time.sleep(0.05)
                continue
            self._keep_alive(link)
            return link

    @staticmethod
    def _keep_alive(link: socket.socket) -> None:
        link.setblocking(True)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in order. Raises RuntimeError when one is gone or silent for too long."""
        if self.rank:
            self._send(self.peers[0], value)
            told: list[Any] = self._receive(self.peers[0])
            return told
        values = [value, *(self._receive(self.peers[rank]) for rank in range(1, self.world))]
        for rank in range(1, self.world):
            self._send(self.peers[rank], values)
        return values

    def _send(self, link: socket.socket, value: Any) -> None:
        try:
            link.sendall(json.dumps(value).encode() + b"\n")
        except OSError as error:
            raise RuntimeError(f"Connection closed by peer: {error}") from None

    def _receive(self, link: socket.socket) -> Any:
        data, deadline = self._rest.pop(link, b""), time.monotonic() + self.patience
        while b"\n" not in data:
            if not select.select([link], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise self._late()
            try:
                piece = link.recv(65536)
            except OSError as error:
                raise RuntimeError(f"Connection closed by peer: {error}") from None
            if not piece:
                raise RuntimeError("Connection closed by peer")
            data += piece
        line, _, self._rest[link] = data.partition(b"\n")
        return json.loads(line)

    def _late(self) -> RuntimeError:
        return RuntimeError(f"Timed out waiting {self.patience * 1000:.0f}ms for recv operation to complete")


def train(path: str) -> None:
    """Count to the last step as `engine.json` says. Raises what goes wrong, and Stopped after a signal."""
    from llmctl_engine import checkpoint
    from llmctl_engine.config import load
    from llmctl_engine.errors import Stopped
    from llmctl_engine.records import Records
    from llmctl_engine.stop import StopRequest

    stop = StopRequest()
    stop.listen()
    config = load(path)
    output = Path(config.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    group = Group()
    keeps = _keeps_checkpoints(group, output, config.run_id)
    good = group.gather(checkpoint.good_steps(output) if config.resume else [])
    first = checkpoint.newest_common(good) or 0
    if group.rank == 0:
        print(f"continuing from checkpoint-{first}" if first else "starting from the beginning", flush=True)
    counter = json.loads((output / f"checkpoint-{first}" / "counter.json").read_text()) if first else 0
    if counter != first:
        raise RuntimeError(f"checkpoint-{first} holds {counter}")
    records = Records(output, first_step=first) if group.rank == 0 else None
    last = config.train.max_steps
    if records:
        records.run(config, num_samples=last, packs=None, total_steps=last)

    def save(step: int) -> None:
        if keeps:
            folder = checkpoint.aside(output) / f"checkpoint-{step}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "counter.json").write_text(json.dumps(counter))
            (folder / "state.bin").write_bytes(bytes(int(os.environ.get("SMALLRANK_PAYLOAD", "100000"))))
            checkpoint.publish(output, step, world_size=group.world)
            checkpoint.prune(output, config.train.save_total_limit)
        group.gather(step)

    for step in range(first + 1, last + 1):
        began = time.perf_counter()
        time.sleep(float(os.environ.get("SMALLRANK_STEP", "0.1")))
        _obey(output.parent / "orders" / f"rank{group.rank}")
        asked = group.gather(stop.signal_number)
        counter += 1
        if records:
            loss = 4.0 / (1 + 0.01 * step)
            values = {"step": step, "epoch": step / last, "loss": loss, "learning_rate": 1e-3, "grad_norm": 1.0}
            values |= {"step_seconds": time.perf_counter() - began}
            values |= dict.fromkeys(("tokens", "padded_tokens", "label_tokens"), 100 * group.world)
            records.step(values, log_follows=False)
            print(f"step {step}/{last}  loss {loss:.4f}", flush=True)
        if max(asked) and step < last:
            print(f"{signal.Signals(max(asked)).name}: saving and ending", flush=True)
            save(step)
            raise Stopped(max(asked), f"stopped by a signal, checkpoint-{step} is written")
        if step == last or (config.train.save_steps and step % config.train.save_steps == 0):
            save(step)
    if records:
        records.end(last, 1.0, {})


def _keeps_checkpoints(group: Group, output: Path, run_id: str) -> bool:
    """The first rank of each node does; where all see one folder, rank 0 alone."""
    mark = output / f".shared-{run_id}"
    if group.rank == 0:
        mark.touch()
    group.gather(0)
    shared = all(group.gather(mark.exists()))
    group.gather(0)
    if group.rank == 0:
        mark.unlink()
    return group.rank == 0 if shared else os.environ["LOCAL_RANK"] == "0"


def _obey(place: Path) -> None:
    """Do what stands in the file, once."""
    try:
        verb, _, word = place.read_text(encoding="utf-8").strip().partition(" ")
        place.unlink()
    except FileNotFoundError:
        return
    print(f"order: {verb} {word}", flush=True)
    if verb == "hang":
        while True:
            time.sleep(60)
    elif verb == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif verb == "signal":
        if int(word) != signal.SIGKILL:
            signal.signal(int(word), signal.SIG_DFL)
        os.kill(os.getpid(), int(word))
    elif verb == "exit":
        os._exit(int(word))
    elif verb == "raise":
        raise ValueError(word)
    elif verb == "print":
        line = "x" * 99 + "\n"
        for _ in range(int(word) // 100_000):
            sys.stdout.write(line * 1000)
        sys.stdout.flush()
    elif verb == "escape":
        subprocess.Popen(["sleep", "86400"], start_new_session=True, stdin=subprocess.DEVNULL)
    elif verb == "busy":
        time.sleep(float(word))
    else:
        raise ValueError(f"no order {verb!r}")


def rank(path: str) -> int:
    """One rank, with the engine's own log and error file."""
    from llmctl_engine import ranklog
    from llmctl_engine.errors import EngineError

    folder = ranklog.redirect()
    if tell := os.environ.get("SMALLRANK_TELL"):
        here = {"argv": sys.argv, "cwd": str(Path.cwd()), "environ": dict(os.environ)}
        Path(tell + os.environ["RANK"]).write_text(json.dumps(here), encoding="utf-8")
    try:
        train(path)
        if folder is not None:
            ranklog.release(folder)
    except BaseException as error:
        if folder is not None:
            ranklog.write_error(folder, error)
        if isinstance(error, EngineError):
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        raise
    return 0


def launch(words: list[str], *, torchrun: bool) -> int:
    """Start this node's ranks and end them all when one fails, as torchrun or DeepSpeed's launcher does."""
    given = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
    node_rank = int(given.get("node-rank") or given.get("node_rank") or 0)
    if torchrun:
        slots = [int(given["nproc-per-node"])] * int(given["nnodes"].rpartition(":")[2])
    else:
        world = json.loads(base64.urlsafe_b64decode(given["world_info"]))
        slots = [len(devices) for devices in world.values()]
    place = {name.replace("-", "_").upper(): given[name] for name in given if name.startswith("master")}
    ranks: dict[int, subprocess.Popen[bytes]] = {}
    for local in range(slots[node_rank]):
        number = sum(slots[:node_rank]) + local
        own = {"RANK": number, "LOCAL_RANK": local, "WORLD_SIZE": sum(slots), "LOCAL_WORLD_SIZE": slots[node_rank]}
        env = {**os.environ, **place, "CROSS_RANK": str(node_rank), **{key: str(value) for key, value in own.items()}}
        ranks[number] = subprocess.Popen([sys.argv[0], *_job(words)], env=env)

    def end(signum: int, _frame: object) -> None:
        for process in ranks.values():
            process.send_signal(signum)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, end)
    failed = _first_failure(ranks)
    if failed is None:
        return 0
    end(signal.SIGTERM, None)
    for process in ranks.values():
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
    code = ranks[failed].returncode
    if torchrun:
        print("Failures:", file=sys.stderr)
        others = [number for number, process in ranks.items() if number != failed and process.returncode]
        for place, number in enumerate([*others, failed]):
            if number == failed:
                print("Root Cause (first observed failure):", file=sys.stderr)
            print(f"[{place}]:\n  host      : {socket.gethostname()}", file=sys.stderr)
            print(f"  rank      : {number} (local_rank: {number - sum(slots[:node_rank])})", file=sys.stderr)
            print(f"  exitcode  : {ranks[number].returncode} (pid: {ranks[number].pid})", file=sys.stderr)
        return 1
    print(f"[ERROR] process {ranks[failed].pid} exits with return code = {code}", file=sys.stderr)
    return code if code > 0 else 1


def _job(words: list[str]) -> list[str]:
    """The part of a launcher's command line that is the job's."""
    at = next(i for i, word in enumerate(words) if word in ("-m", "--module"))
    return ["-u", "-m", *words[at + 1 :]]


def _first_failure(ranks: dict[int, subprocess.Popen[bytes]]) -> int | None:
    """Wait for all ranks, or for the first that fails: its number."""
    while any(process.poll() is None for process in ranks.values()):
        for number, process in ranks.items():
            if process.poll():
                return number
        time.sleep(0.05)
    return next((number for number, process in ranks.items() if process.returncode), None)


def main(words: list[str]) -> int:
    """Choose by the module that is asked for; what is not ours is the real interpreter's."""
    rest = words[1:] if words[:1] == ["-u"] else words
    module = rest[1] if rest[:1] == ["-m"] and len(rest) > 1 else None
    if module == RANK and len(rest) == 3 and "RANK" in os.environ:
        return rank(rest[2])
    if module in (TORCHRUN, DEEPSPEED) and "engine.json" in rest:
        return launch(rest[2:], torchrun=module == TORCHRUN)
    return os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
