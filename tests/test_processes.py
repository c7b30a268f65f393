"""How the process of a command ends."""

import subprocess
import sys

import pytest

CODE = """
import atexit, gc, sys, threading, time
from regulo.core.processes import run_process

def main():
    atexit.register(print, "exit function")
    threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
    print("main", gc.get_threshold()[0] > 700, end=" ")  # not flushed
    {ending}

run_process(main)
"""


def end_with(ending: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE.format(ending=ending)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 2, 130])
def test_a_command_ends_after_its_threads_and_exit_functions_with_its_code(code: int) -> None:
    process = end_with(f"return {code}")
    assert (process.returncode, process.stdout, process.stderr) == (code, "main True thread\nexit function\n", "")


def test_an_error_that_nobody_expects_has_a_traceback_and_code_1() -> None:
    process = end_with("raise ValueError('unexpected')")
    assert process.returncode == 1
    assert process.stdout.split("\n")[-2] == "exit function"
    assert "ValueError: unexpected" in process.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_is_closed_does_not_change_the_code(stream: str) -> None:
    assert end_with(f"sys.{stream} = None; return 3").returncode == 3
    assert end_with(f"sys.{stream}.close(); return 3").returncode == 3
