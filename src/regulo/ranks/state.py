"""What is known of each process, and what follows from it: which one has ended or hangs, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from regulo.errors import Failed

SETTLE = 1.0
"""seconds in which the cause may still arrive behind the complaint of another rank that lost its partner"""
KILLED = "ended without a word: it was killed, or its machine is gone"
FIRST = 10
"""the first step may take so many times longer: kernels are compiled, and loader workers start"""


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
            return f"rank {rank} {silent(now - state.heard)}"
    still = now - max(s.moved for s in working.values())
    begun = min(s.progress for s in working.values()) >= 2
    if still > max(patience if begun else FIRST * patience, 3 * max(s.slowest for s in working.values())):
        behind = {r: s for r, s in working.items() if s.progress == min(o.progress for o in working.values())}
        stuck = {r: s for r, s in behind.items() if not s.waits} or behind
        where = "; ".join(f"rank {r} hangs at {s.at}" for r, s in stuck.items())
        return f"{where}: no rank got any further for {still:.0f} s (trainer.hang_seconds={patience:g})"
    return ""


def silent(seconds: float) -> str:
    """What is the matter with a process that does not beat any more."""
    return f"has not been heard of for {seconds:.0f} s: it is stopped, or its machine is gone"


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
