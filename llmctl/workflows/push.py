"""`llmctl push`: one file or folder to all nodes, each byte over the launcher's link once, each file verified."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from llmctl.errors import ExitCode, Interrupted, LlmctlError, NodeError, UsageError, worst
from llmctl.quoting import sh_quote
from llmctl.recipe.hosts import Node, parse_nodes, recipe_nodes
from llmctl.recipe.load import LoadedRecipe, load_recipe
from llmctl.remote.connect import open_all, resolve
from llmctl.remote.delivery import IDLE, Place, RsyncFailed, Standing, finish, hand_on, mark, prepare, seen, send
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.inventory import load_inventory
from llmctl.remote.parcel import Parcel, survey_parcel
from llmctl.remote.spread import HopFailed, spread

Phase = Literal["reading", "comparing", "copying", "checking", "idle"]
"""`idle`: it waits for its turn, or has all."""
State = Literal["was there", "copied", "shared", "failed"]
LAUNCHER = "launcher"


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where one node stands; `node` is `launcher` while the files are read there."""

    node: str
    phase: Phase
    done: int
    total: int | None = None
    """Bytes; None where nobody can know."""
    source: str = LAUNCHER


@dataclass(kw_only=True)
class Arrival:
    """What became of one node."""

    node: str
    state: State = "failed"
    path: str = ""
    """Where it lies there."""
    source: str | None = None
    """`launcher`, or the node that handed it on."""
    copied: int = 0
    """Bytes that had to come."""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    error: LlmctlError | None = None


@dataclass(frozen=True, kw_only=True)
class Push:
    """The result for all nodes, in the order asked for."""

    parcel: Parcel
    arrivals: tuple[Arrival, ...]
    from_launcher: int
    """Bytes that went over the launcher's link; of a hop that was cut off, those that were told of."""

    @property
    def exit_code(self) -> ExitCode:
        """5 when a node failed; 0 when all have it."""
        return worst([arrival.error.exit_code for arrival in self.arrivals if arrival.error is not None])

    @property
    def interrupted(self) -> bool:
        """Whether a person stopped it."""
        return any(isinstance(arrival.error, Interrupted) for arrival in self.arrivals)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How to push. `replace` drops what else lies in the folder there; `verify` reads again what lies there already;
    `idle` is the seconds without a byte after which a connection counts as lost."""

    user: str | None = None
    port: int | None = None
    replace: bool = False
    verify: bool = False
    rsync: bool = True
    idle: float = IDLE
    tell: Callable[[Step], None] = lambda _: None


def push(path: Path, nodes: Sequence[Node], places: Mapping[str, str], wish: Wish) -> Push:
    """Bring `path` to every node, to `places[node.name]` there (absolute, or `~/...`).

    A node that fails keeps its error and stops nobody, and so does a person who interrupts it; what has come stays
    there for the next push. Raises UsageError for a path that cannot be sent."""
    parcel = survey_parcel(path, lambda done: wish.tell(Step(node=LAUNCHER, phase="reading", done=done)))
    wish.tell(Step(node=LAUNCHER, phase="idle", done=0))
    arrivals = {node.name: Arrival(node=node.name, path=places[node.name]) for node in nodes}
    opened = open_all(nodes, user=wish.user, port=wish.port)
    journey = Journey(parcel, wish, {}, arrivals)
    try:
        inventory = load_inventory()
        for each in opened:
            name = each.item.name
            if each.value is None:
                arrivals[name].error = each.error
                continue
            target = resolve(each.item, user=wish.user, port=wish.port, inventory=inventory)
            python = (inventory[name].python if name in inventory else None) or "python3"
            journey.places[name] = Place(
                link=each.value, target=target, path=places[name], python=python, idle=wish.idle
            )
        journey.go()
    except KeyboardInterrupt:
        for arrival in arrivals.values():
            if arrival.state == "failed" and arrival.error is None:
                hint = "run it again: it goes on where it stopped"
                arrival.error = Interrupted("it was stopped", where=arrival.node, hint=hint)
    finally:
        journey.close()
    return Push(parcel=parcel, arrivals=tuple(arrivals.values()), from_launcher=journey.from_launcher)


class Journey:
    """The way of one parcel to the nodes that can be reached."""

    def __init__(self, parcel: Parcel, wish: Wish, places: dict[str, Place], arrivals: Mapping[str, Arrival]) -> None:
        self.parcel, self.wish, self.places, self.arrivals = parcel, wish, places, arrivals
        self.from_launcher = 0
        self._standing: dict[str, Standing] = {}
        self._rsync: set[str] = set()
        self._count = threading.Lock()
        self._stopped = threading.Event()

    def close(self) -> None:
        """Close every connection, which ends every hop."""
        self._stopped.set()
        for place in self.places.values():
            place.link.close()

    def go(self) -> None:
        """Prepare all nodes, then bring it to those that lack it."""
        owners, failed = _owners(list(self.places.values()))
        own = [name for name in self.places if owners[name] == name]
        for outcome in fan_out(own, self._prepare):
            # What failed first is the cause: it may have cost the connection.
            self.arrivals[outcome.item].error = outcome.error and failed.get(outcome.item, outcome.error)
        good = [name for name in own if self.arrivals[name].error is None]
        errors = spread(
            [name for name in good if not self._standing[name].complete],
            holders=[name for name in good if self._standing[name].complete],
            relays={name for name in good if self._standing[name].relay},
            deliver=self._deliver,
            abort=self.close,
        )
        for name, error in errors.items():
            self.arrivals[name].error = error
        for name, owner in owners.items():
            if owner != name:
                there, mine = self.arrivals[owner], self.arrivals[name]
                mine.state = "failed" if there.error else "shared"
                mine.path, mine.source, mine.error = there.path, owner, there.error

    def _prepare(self, name: str) -> None:
        standing = prepare(
            self.places[name],
            self.parcel,
            replace=self.wish.replace,
            verify=self.wish.verify,
            tell=self._teller(name, "comparing", None),
        )
        self.wish.tell(Step(node=name, phase="idle", done=0))
        self._standing[name] = standing
        if standing.rsync:
            self._rsync.add(name)
        arrival = self.arrivals[name]
        arrival.path = standing.path
        if standing.complete:
            arrival.state = "was there"
            if standing.extras:
                arrival.notes.append(f"other files lie there too: {', '.join(standing.extras)}")

    def _deliver(self, sender: str | None, name: str) -> None:
        """One hop, the check, and a second try for files that arrived wrong."""
        begun = time.monotonic()
        place, arrival = self.places[name], self.arrivals[name]
        for last in (False, True):
            if self._move(sender, name):
                return
            wrong = finish(place, self.parcel, tell=self._teller(name, "checking", self.parcel.size))
            if not wrong:
                break
            arrival.notes.append(f"arrived wrong and came again: {', '.join(wrong[:5])}")
            if last:
                kind = NodeError if sender is None else HopFailed
                raise kind("what arrives is not what was sent", where=name, why=", ".join(wrong[:5]))
        arrival.state, arrival.source = "copied", sender or LAUNCHER
        arrival.seconds += time.monotonic() - begun
        self.wish.tell(Step(node=name, phase="idle", done=0))

    def _move(self, sender: str | None, name: str) -> bool:
        """Bring what is missing; True when it turns out that all is in place already."""
        for rsync in (self.wish.rsync, False):
            standing = self._standing.pop(name, None) or self._again(name)
            if standing.complete:
                return True
            try:
                self._hop(sender, name, standing, rsync)
                break
            except RsyncFailed as error:
                if self._stopped.is_set():
                    raise
                self.arrivals[name].notes.append(f"{error.what}, went on without it: {error.why}")
            except HopFailed as error:
                self.arrivals[name].notes.append(f"{error.what}: {error.why}")
                raise
        return False

    def _hop(self, sender: str | None, name: str, standing: Standing, rsync: bool) -> None:
        place, missing = self.places[name], standing.missing(self.parcel)
        self.arrivals[name].copied += missing
        tell = self._teller(name, "copying", missing, sender or LAUNCHER)
        if not missing:
            return
        if sender is None:
            sent = 0

            def count(done: int) -> None:
                nonlocal sent
                sent = done
                tell(done)

            try:
                sent = send(place, self.parcel, standing, rsync=rsync, tell=count, stopped=self._stopped.is_set)
            finally:
                with self._count:
                    self.from_launcher += sent
        else:
            source = self.places[sender]
            path = self.arrivals[sender].path
            both = rsync and {sender, name} <= self._rsync
            hand_on(source, place, self.parcel, standing, path=path, rsync=both, tell=tell)

    def _again(self, name: str) -> Standing:
        """What is missing now, after a hop that did not come to its end."""
        self._prepare(name)
        return self._standing.pop(name)

    def _teller(self, name: str, phase: Phase, total: int | None, source: str = LAUNCHER) -> Callable[[int], None]:
        step = Step(node=name, phase=phase, done=0, total=total, source=source)
        self.wish.tell(step)
        return lambda done: self.wish.tell(replace(step, done=done))


def push_words(path: Path, words: Sequence[str], to: str | None, wish: Wish) -> Push:
    """`llmctl push`: to the nodes of one recipe, or to nodes. Raises UsageError when nobody says where to."""
    recipe = _recipe(words)
    if recipe is None:
        nodes: Sequence[Node] = parse_nodes(words)
        inventory = load_inventory()
        workdirs = {node.name: inventory[node.name].workdir if node.name in inventory else None for node in nodes}
        wanted: list[str] = []
    else:
        loaded, cluster = recipe, recipe.recipe.cluster
        if loaded.recipe.launch.backend == "local":
            raise UsageError(
                "this recipe runs on this machine alone", where=str(loaded.path), hint="give nodes instead"
            )
        nodes = recipe_nodes(loaded.recipe, loaded.folder)
        wish = replace(wish, user=wish.user or cluster.user, port=wish.port or cluster.port)
        workdirs = dict.fromkeys((node.name for node in nodes), cluster.workdir)
        wanted = [name for name in (loaded.recipe.model.path, loaded.recipe.data.dir) if name]
    places = {node.name: place_of(path, to, workdirs[node.name], wanted, node.name) for node in nodes}
    return push(path, nodes, places, wish)


def _recipe(words: Sequence[str]) -> LoadedRecipe | None:
    """The recipe, where the one word names a file or ends like one."""
    if len(words) != 1 or not (words[0].endswith((".yaml", ".yml")) or Path(words[0]).is_file()):
        return None
    return load_recipe(words[0])


def place_of(path: Path, to: str | None, workdir: str | None, wanted: Sequence[str], node: str) -> str:
    """Where it goes on a node: `to`; with `/` at its end inside of it; without `to` where the recipe looks for that
    name (`wanted`), else below workdir. Raises UsageError when there is no workdir to start from."""
    name = path.resolve().name
    if to is None:
        to = next((each for each in wanted if PurePosixPath(each).name == name), name)
    elif to.endswith("/"):
        to += name
    if to.startswith(("/", "~/")):
        return to
    if workdir is None:
        raise UsageError(
            "where shall it lie?",
            where=node,
            why="no workdir is known for this node",
            hint=f"--to {sh_quote(f'/data/{name}')}",
        )
    return f"{workdir}/{to}"


def _owners(places: Sequence[Place]) -> tuple[dict[str, str], dict[str, LlmctlError]]:
    """Node -> the first node that sees the same folder; and what failed here. Such a node owns itself and fails
    later."""
    names = [place.name for place in places]
    if len(places) < 2:
        return dict(zip(names, names, strict=True)), {}
    failed = {outcome.item.name: outcome.error for outcome in fan_out(places, mark) if outcome.error is not None}
    told: list[Outcome[Place, list[str]]] = fan_out(places, seen)
    there = {outcome.item.name: set(outcome.value or ()) for outcome in told}
    return {name: next((first for first in names if first in there[name]), name) for name in names}, failed
