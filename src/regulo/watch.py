"""The processes of a run watch one another, so that none waits for one that has failed, was killed, or hangs.

Every process keeps a line (a TCP connection, JSON, nothing that could be run) to the first one. It beats there every second, and
says how far its main thread has got and where that is: so a dead process (the line breaks), a stopped one (no beats) and a
hanging one (beats, but nobody gets any further) are told apart. torch alone notices some of these after 10 to 30 minutes.
"""

import json
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

from regulo import launch
from regulo.errors import Failed, Refused
from regulo.home import without_home
from regulo.launch import JOIN, Place
from regulo.runs import RunFolder, write

BEAT = 1.0
"""seconds between two beats"""
SETTLE = 1.0
"""seconds in which the cause may still arrive behind the complaint of another rank that lost its partner"""
GRACE = 5.0
"""seconds that a main thread has to notice by itself, and a process to end by itself"""
FIRST = 10
"""the first step may take so many times longer: kernels are compiled, and loader workers start"""
WAITING = ("torch/distributed/", "torch/autograd/graph.py")
"""where a rank waits for others: in a collective operation, or in the backward pass, where DDP has them"""
KEY = "regulo/line"


@dataclass
class State:
    """What is known of one process."""

    heard: float  # when its last beat came, in seconds of the monotonic clock, as all times here
    moved: float  # when its main thread last got further
    progress: int = 0  # marks that its main thread has passed
    at: str = ""  # where that is: "file.py:12 in function"
    waits: bool = False  # that is a place where ranks wait for one another
    slowest: float = 0.0  # longest time between two marks, after the first step
    error: str = ""
    echo: bool = False  # the error is about the connection to other ranks, of which one has ended
    gone: str = ""  # it ended without a word: how
    done: bool = False
    since: float = 0.0  # when the sign of its end came

    def beat(self, progress: int, at: str, waits: bool, now: float) -> None:
        """It is alive."""
        if progress != self.progress:
            if self.progress >= 2:
                self.slowest = max(self.slowest, now - self.moved)
            self.progress, self.moved = progress, now
        self.heard, self.at, self.waits = now, at, waits


def verdict(states: Mapping[int, State], now: float, patience: float | None) -> str:
    """Which rank has ended or hangs, and why; empty if none does. `patience` in seconds; None: hanging is allowed."""
    ended = sorted((s.since, r, s) for r, s in states.items() if s.error or s.gone)
    if ended:
        causes = [e for e in ended if not e[2].echo]
        if causes or now - ended[0][0] > SETTLE:
            _, rank, state = (causes or ended)[0]
            return said(rank, state.error) if state.error else f"rank {rank} {state.gone}"
        return ""
    working = {r: s for r, s in states.items() if not s.done}
    if patience is None or not working:
        return ""
    for rank, state in working.items():
        if now - state.heard > patience:
            return f"rank {rank} has not been heard of for {now - state.heard:.0f} s: it is stopped, or its machine is gone"
    still = now - max(s.moved for s in working.values())
    begun = min(s.progress for s in working.values()) >= 2
    if still > max(patience if begun else FIRST * patience, 3 * max(s.slowest for s in working.values())):
        behind = {r: s for r, s in working.items() if s.progress == min(o.progress for o in working.values())}
        stuck = {r: s for r, s in behind.items() if not s.waits} or behind
        where = "; ".join(f"rank {r} hangs at {s.at}" for r, s in stuck.items())
        return f"{where}: no rank got any further for {still:.0f} s (trainer.hang_seconds={patience:g})"
    return ""


def said(rank: int, error: str) -> str:
    """An error of a rank, for people."""
    return f"rank {rank}: {error} (its traceback is in the run folder: rank{rank}.txt)"


def is_echo(error: BaseException) -> bool:
    """Whether an error says no more than that another rank is not there."""
    from torch.distributed import DistError

    text = str(error).lower()
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and ("gloo" in text or "nccl" in text))


def first_line(error: BaseException) -> str:
    """An error in one line."""
    text = str(error).splitlines()
    named = isinstance(error, Failed) and text
    return text[0] if named else f"{type(error).__name__}{': ' + text[0] if text else ''}"


class Pace:
    """How far the main thread of this process has got. Its callback passes a mark whenever something is done."""

    def __init__(self) -> None:
        self.progress = 0
        self.thread = threading.get_ident()

    def mark(self, *_: Any, **__: Any) -> None:
        """The main thread got further."""
        self.progress += 1

    def callback(self) -> Any:
        """The Lightning callback that passes the marks."""
        from lightning.pytorch import Callback

        training = ("train_epoch_start", "train_batch_start", "train_batch_end", "train_epoch_end")
        validation = ("validation_start", "validation_batch_end", "validation_end")
        return type("Marks", (Callback,), {f"on_{hook}": self.mark for hook in (*training, *validation)})()

    def now(self) -> dict[str, Any]:
        """A beat: progress, and the innermost place of the main thread."""
        frame = sys._current_frames()[self.thread]
        file = Path(frame.f_code.co_filename)
        waits = any(part in file.as_posix() for part in WAITING)
        return {"progress": self.progress, "at": f"{file.name}:{frame.f_lineno} in {frame.f_code.co_name}", "waits": waits}


class Line:
    """One end of a connection on which plain data are said, one JSON object in a line."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.file = connection.makefile("r", encoding="utf-8")
        self.lock = threading.Lock()

    def say(self, **message: Any) -> bool:
        """Returns whether somebody is still there to hear it."""
        try:
            with self.lock:
                self.connection.sendall(f"{json.dumps(message)}\n".encode())
        except OSError:
            return False
        return True

    def hear(self, seconds: float | None) -> dict[str, Any] | None:
        """The next message, or None once the line is broken. Raises TimeoutError after so many seconds of silence."""
        self.connection.settimeout(seconds)
        try:
            message = json.loads(self.file.readline(1_000_000))
        except TimeoutError:
            raise
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        """Nothing more is said or heard."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


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
            return "ended without a word: it was killed, or its machine is gone"
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
        failed: Callable[[str], None],
    ) -> Iterator[Pace]:
        """Within: all processes train, and hear `told` before.

        Raises Failed if another one ends or hangs. If the main thread can't be reached any more, `failed` is called with the
        reason in its place, and the process ends.
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
    def _watched(self, told: Mapping[str, Any], patience: float | None, failed: Callable[[str], None]) -> Iterator[None]:
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
            self._await_others(patience)
        except Exception as error:
            why = self._cause() if is_echo(error) else ""
            if why:
                raise Failed(why) from None
            if isinstance(error, Failed | Refused):
                raise
            write(self.folder / "rank0.txt", without_home(traceback.format_exc()))
            raise Failed(said(0, first_line(error))) from None
        finally:
            left.set()
            self._keep_traces()

    def _gather(self) -> None:
        """Wait until all others are there. Raises Failed if one does not come."""
        end = time.monotonic() + JOIN
        while len(self.peers) < self.world - 1:
            missing = [r for r in range(1, self.world) if r not in self.peers]
            for rank in missing if self.processes else ():
                code = self.processes[rank - 1].poll()
                if code is not None:
                    raise Failed(f"rank {rank} {_ended(code)}")
            if time.monotonic() > end:
                raise Failed(f"ranks {', '.join(map(str, missing))} did not appear within {JOIN:.0f} s")
            time.sleep(0.05)

    def _states(self) -> dict[int, State]:
        return {0: self.mine, **{rank: peer.state for rank, peer in sorted(self.peers.items())}}

    def _verdict(self, patience: float | None) -> str:
        now = time.monotonic()
        self.mine.beat(**self.pace.now(), now=now)
        return verdict(self._states(), now, patience)

    def _watch(self, patience: float | None, failed: Callable[[str], None], left: threading.Event) -> None:
        """Give the main thread a while to notice what has happened; if it can't, end the process in its place."""
        while not left.wait(BEAT / 4):
            why = self._verdict(patience)
            if why and not left.wait(GRACE) and (why := self._verdict(patience)):  # it is so still
                self._keep_traces()
                failed(why)
                print(f"regulo: the run failed: {why}", file=sys.stderr, flush=True)
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
                write(self.folder / f"rank{rank}.txt", without_home(peer.trace))

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
                self._gather()
        self._end(exit_code(error))


def exit_code(error: BaseException | None) -> int:
    """The exit code of a process that ends with this error, or well without one."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    known = {type(None): 0, KeyboardInterrupt: 130, Refused: 2}
    return known.get(type(error), 1)


def _ended(code: int | None) -> str:
    """How a process ended, from its exit code."""
    if code is None or code >= 0:
        return f"ended without a word, with exit code {code}"
    hint = ": the system does that when memory runs out" if -code == signal.SIGKILL else ""
    return f"was killed ({signal.Signals(-code).name}{hint})"


class Member:
    """Any process but the first: it is told what to train, beats, and ends with the run."""

    def __init__(self, here: Place) -> None:
        self.here, self.pace = here, Pace()
        self.parent = int(os.environ.get(launch.OURS, 0))  # which has started this process, if it is on this machine
        if self.parent:
            threading.Thread(target=self._end_with_parent, daemon=True).start()
        self.code, self.done, self.over = 0, False, threading.Event()
        self.folder: Path | None = None
        port, token = launch.store(here).get(KEY).decode().split()
        self.line = Line(socket.create_connection((here.address, int(port)), JOIN))
        self.line.say(rank=here.rank, token=token)
        threading.Thread(target=self._beat, daemon=True).start()

    def told(self) -> dict[str, Any]:
        """What the first process has chosen. Ends this process, with the exit code of the first, if there will be no run."""
        with suppress(TimeoutError):
            while message := self.line.hear(JOIN):
                if "told" in message:
                    self.folder = Path(message["told"]["run_dir"])
                    return dict(message["told"])
                if "end" in message:
                    raise SystemExit(message["end"])
        raise SystemExit(1)

    @contextmanager
    def watched(self, patience: float | None) -> Iterator[Pace]:
        """Within: this process trains. An error is handed to the first process; at the end it waits, and ends with that one."""
        threading.Thread(target=self._listen, args=(patience,), daemon=True).start()
        try:
            yield self.pace
        except (KeyboardInterrupt, SystemExit) as asked:
            self.code = exit_code(asked)
        except Exception as error:
            self.line.say(error=first_line(error), echo=is_echo(error), trace=traceback.format_exc()[-50_000:])
            os._exit(1)  # torch may wait for its partners even at exit
        self.done = True
        self.line.say(done=1)
        while not self.over.wait(BEAT):  # a launcher may take an early end for a sign to end them all
            pass
        if self.code:
            raise SystemExit(self.code)

    def _end_with_parent(self) -> None:
        """The line tells of most ends, but not while there is none yet."""
        while os.getppid() == self.parent:
            time.sleep(BEAT)
        time.sleep(BEAT)  # in which the line tells more
        os._exit(1)

    def _beat(self) -> None:
        while self.line.say(**self.pace.now()):
            time.sleep(BEAT)

    def _listen(self, patience: float | None) -> None:
        """End this process with the first one, however that ends."""
        stopped = False
        try:
            while message := self.line.hear(patience):
                if "end" in message:
                    self.code = self.code or message["end"]
                    if not self.done:  # the main thread may wait for a partner that has gone
                        os._exit(self.code)
                    self.over.set()
                    return
            how = "ended without a word: it was killed, or its machine is gone"
        except TimeoutError:
            stopped = True
            how = f"has not been heard of for {patience:g} s: it is stopped, or its machine is gone"
        if self.here.rank == 1:  # tells what the first process can't
            print(f"regulo: the run failed: rank 0 {how}", file=sys.stderr, flush=True)
            if self.folder and self.folder.is_dir():
                result = {"status": "failed", "error": f"rank 0 {how}", "error_type": "Failed"}
                RunFolder(self.folder).save_json("result.json", result)
        if stopped and os.getppid() == self.parent:
            os.kill(self.parent, signal.SIGKILL)
        os._exit(1)
