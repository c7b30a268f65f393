"""The first process: it knows of all others, says what is trained, and why the run ends."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regulo.errors import Diverged, Failed, Refused, exit_code
from regulo.home import without_home
from regulo.ranks import launch
from regulo.ranks.launch import JOIN, Place
from regulo.ranks.line import BEAT, GRACE, KEY, Line, Pace
from regulo.ranks.state import KILLED, State, first_line, is_echo, said, verdict
from regulo.runs import write


@dataclass
class Peer:
    """Another process of the run, as the first one knows it."""

    line: Line
    state: State
    process: Any = None  # if this one has started it
    trace: str = ""


class Board:
    """Where all lines come together: in the first process, which says what is trained, and why the run ends."""

    def __init__(self) -> None:
        self.peers: dict[int, Peer] = {}
        self.processes: list[Any] = []
        self.pace = Pace()
        self.mine = State(time.monotonic(), time.monotonic())
        self.token = secrets.token_hex(16)
        self.server: socket.socket | None = None
        self.world = 1
        self.open = True

    def listen(self, here: Place) -> None:
        """Let the others find this process."""
        self.world = here.world
        family, _, _, _, address = socket.getaddrinfo(here.address, 0, type=socket.SOCK_STREAM)[0]
        host = address[0] if here.launcher == "regulo" else ""  # nobody else is expected from outside
        self.server = socket.create_server((str(host), 0), family=family)
        self.meeting = launch.store(here)
        self.meeting.set(KEY, f"{self.server.getsockname()[1]} {self.token}")
        for act in (self._accept, self._beat):
            threading.Thread(target=act, daemon=True).start()

    def _accept(self) -> None:
        while self.open and self.server:
            with suppress(OSError):
                line = Line(self.server.accept()[0])
                threading.Thread(target=self._hear, args=(line,), daemon=True).start()

    def _hear(self, line: Line) -> None:
        """One other process, until it ends."""
        hello: dict[str, Any] | None = None
        with suppress(TimeoutError):
            hello = line.hear(GRACE)
        if not hello or hello.get("token") != self.token:
            line.close()
            return
        now, rank = time.monotonic(), int(hello["rank"])
        local = self.processes[rank - 1] if self.processes else None
        peer = self.peers[rank] = Peer(line, State(now, now), local)
        while message := line.hear(None):
            now = time.monotonic()
            if "progress" in message:
                peer.state.beat(**message, now=now)
            elif "error" in message:
                peer.state.error, peer.state.echo, peer.state.since = message["error"], message["echo"], now
                peer.trace = message["trace"]
            elif "done" in message:
                peer.state.done = True
        if not (peer.state.done or peer.state.error):
            peer.state.since, peer.state.gone = time.monotonic(), self._how(peer)

    def _how(self, peer: Peer) -> str:
        if peer.process is None:
            return KILLED
        with suppress(Exception):
            peer.process.wait(GRACE)
        return _ended(peer.process.poll())

    def _beat(self) -> None:
        while self.open:
            for peer in list(self.peers.values()):
                peer.line.say(beat=1)
            time.sleep(BEAT)

    @contextmanager
    def together(
        self,
        arguments: Sequence[str],
        processes: int,
        told: Mapping[str, Any],
        patience: float | None,
        failed: Callable[[str], str],
    ) -> Iterator[Pace]:
        """Within: all processes train, and hear `told` before.

        Raises Failed if another one ends or hangs. If the main thread can't be reached any more, `failed` is called with the
        reason in its place, which returns how to go on, and the process ends.
        """
        if processes == 1:
            yield self.pace
            return
        if launch.place().foreign:
            with self._watched(told, patience, failed):
                yield self.pace
            return
        with launch.started(arguments, processes) as (here, self.processes):
            self.listen(here)
            with self._watched(told, patience, failed):
                yield self.pace

    @contextmanager
    def _watched(self, told: Mapping[str, Any], patience: float | None, failed: Callable[[str], str]) -> Iterator[None]:
        self._gather()
        for peer in self.peers.values():
            peer.line.say(told=told)
        self.folder = Path(told["run_dir"])
        self.mine.moved = time.monotonic()
        left = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(patience, failed, left), daemon=True)
        watcher.start()
        try:
            yield
        except (Diverged, Refused):  # as all ranks
            raise
        except Exception as error:
            why = self._cause() if is_echo(error) else ""
            if why:
                raise Failed(why) from None
            self._keep("rank0.txt", traceback.format_exc())
            raise Failed(said(0, first_line(error))) from error.__cause__ or error
        else:
            self._await_others(patience)
        finally:
            left.set()
            self._keep_traces()

    def _gather(self, seconds: float = JOIN) -> None:
        """Wait until all others are there. Raises Failed if one does not come, or will not take part."""
        end = time.monotonic() + seconds
        while True:
            for rank, peer in sorted(self.peers.items()):
                if peer.state.error:
                    raise Failed(f"rank {rank}: {peer.state.error}")
            if len(self.peers) == self.world - 1:
                return
            missing = [r for r in range(1, self.world) if r not in self.peers]
            for rank in missing if self.processes else ():
                code = self.processes[rank - 1].poll()
                if code is not None:
                    raise Failed(f"rank {rank} {_ended(code)}")
            if time.monotonic() > end:
                raise Failed(f"ranks {', '.join(map(str, missing))} did not appear within {seconds:.0f} s")
            time.sleep(0.05)

    def _states(self) -> dict[int, State]:
        return {0: self.mine, **{rank: peer.state for rank, peer in sorted(self.peers.items())}}

    def _verdict(self, patience: float | None) -> str:
        now = time.monotonic()
        self.mine.beat(**self.pace.now(), now=now)
        return verdict(self._states(), now, patience)

    def _watch(self, patience: float | None, failed: Callable[[str], str], left: threading.Event) -> None:
        """Give the main thread a while to notice what has happened; if it can't, end the process in its place."""
        while not left.wait(BEAT / 4):
            why = self._verdict(patience)
            if why and not left.wait(GRACE) and (why := self._verdict(patience)):  # it is so still
                print(f"regulo: the run failed: {why}", file=sys.stderr, flush=True)
                self._keep_traces()
                with suppress(OSError):  # a disk that is full must not keep the run from ending
                    if how := failed(why):
                        print(f"regulo: {how}", file=sys.stderr, flush=True)
                self._end(1, grace=0.0)
                os._exit(1)

    def _cause(self) -> str:
        """Whose end it was that the main thread has noticed: it is told within a few seconds."""
        end = time.monotonic() + GRACE
        while time.monotonic() < end:
            why = self._verdict(None)
            if why:
                return why
            time.sleep(0.05)
        return ""

    def _await_others(self, patience: float | None) -> None:
        """Wait until all have done their part, too. Raises Failed."""
        self.mine.done = True
        while not all(peer.state.done for peer in self.peers.values()):
            why = self._verdict(patience)
            if why:
                raise Failed(why)
            time.sleep(0.02)

    def _keep_traces(self) -> None:
        """`rank<r>.txt` in the run folder: the traceback of a rank that failed."""
        for rank, peer in self.peers.items():
            if peer.trace:
                self._keep(f"rank{rank}.txt", peer.trace)

    def _keep(self, name: str, trace: str) -> None:
        with suppress(OSError):
            write(self.folder / name, without_home(trace))

    def _end(self, code: int, grace: float = GRACE) -> None:
        """The others end, with this exit code unless they have one of their own; those of this process are reaped."""
        self.open = False
        for peer in self.peers.values():
            peer.line.say(end=code)
        deadline = time.monotonic() + grace
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.wait()
        for peer in self.peers.values():
            peer.line.close()
        if self.server:
            self.server.close()

    def __enter__(self) -> "Board":
        here = launch.place()
        if here.foreign:
            self.listen(here)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error and self.server and not self.processes:
            with suppress(Failed):  # those that are still on their way have to hear it, too
                self._gather(60)
        self._end(exit_code(error))


def _ended(code: int | None) -> str:
    """How a process ended, from its exit code."""
    if code is None or code >= 0:
        return f"ended without a word, with exit code {code}"
    hint = ": the system does that when memory runs out" if -code == signal.SIGKILL else ""
    return f"was killed ({signal.Signals(-code).name}{hint})"
