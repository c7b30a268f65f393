"""What the first process concludes from what it knows of the others."""

import pytest

from regulo.ranks.state import State, verdict

NOW = 1000.0


def works(**fields: object) -> State:
    return State(**({"heard": NOW, "moved": NOW - 1, "progress": 10} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ([works(), works()], ""),
        ([works(), works(moved=NOW - 500)], ""),  # it waits, as long as another one gets further
        ([works(), works(error="ValueError: x", since=NOW)], "rank 1: ValueError: x"),
        ([works(), works(gone="was killed (SIGKILL)", since=NOW)], "rank 1 was killed (SIGKILL)"),
        ([works(), works(error="gloo: closed", echo=True, since=NOW - 0.5)], ""),  # the cause may still come
        ([works(), works(error="gloo: closed", echo=True, since=NOW - 2)], "rank 1: gloo: closed"),
        ([works(), works(error="gloo", echo=True, since=NOW - 5), works(gone="was killed", since=NOW)], "rank 2 was killed"),
        ([works(), works(error="b", since=NOW - 1), works(error="a", since=NOW - 2)], "rank 2: a"),
        ([works(), works(heard=NOW - 11)], "rank 1 has not been heard of for 11 s"),
        ([works(), works(heard=NOW - 11, done=True)], ""),
        ([works(moved=NOW - 11, waits=True, at="graph.py"), works(moved=NOW - 11, at="a.py")], "rank 1 hangs at a.py: no rank"),
        ([works(moved=NOW - 11, at="graph.py"), works(moved=NOW - 11, progress=9, at="a.py")], "rank 1 hangs at a.py: no rank"),
        ([works(moved=NOW - 11, at="b"), works(moved=NOW - 11, at="a")], "rank 0 hangs at b; rank 1 hangs at a: no rank"),
        ([works(moved=NOW - 11, progress=1), works(moved=NOW - 11, progress=1)], ""),  # the first step takes its time
        ([works(moved=NOW - 101, progress=1, at="a"), works(moved=NOW - 101, waits=True)], "rank 0 hangs at a"),
        ([works(moved=NOW - 11, slowest=5.0), works(moved=NOW - 11)], ""),  # it was as slow before
    ],
)
def test_the_rank_that_is_the_cause_is_named(states: list[State], told: str) -> None:
    said = verdict(dict(enumerate(states)), NOW, 10.0)
    assert said.startswith(told) if told else not said
    if "hang" in told or "heard" in told:
        assert not verdict(dict(enumerate(states)), NOW, None), "hanging is allowed"


def test_a_pause_counts_once_the_first_step_is_done() -> None:
    state = State(0.0, 0.0)
    for progress, now in ((1, 100.0), (2, 200.0), (3, 203.0), (3, 206.0), (4, 207.0)):
        state.beat(progress, "", False, now)
    assert state.slowest == 4.0
    assert state.moved == 207.0
