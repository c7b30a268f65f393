"""Two nodes with a process each: two network namespaces of this machine, joined by a virtual cable."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.distributed.conftest import HERE, execute, result, training

SCRIPT = HERE.parents[1] / "scripts" / "two_nodes.sh"
TWO = ["trainer.devices=1", "trainer.num_nodes=2"]


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    """Skip where they are not allowed."""
    if not shutil.which("ip"):
        pytest.skip("there is no ip (iproute2)")
    name = f"regulo-try-{os.getpid()}"
    namespace = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if namespace.returncode:
        pytest.skip(f"network namespaces are not allowed here: {namespace.stderr.strip()}")
    subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_two_nodes_train_together(tmp_path: Path) -> None:
    process = execute([str(SCRIPT), sys.executable, "-m", "regulo", *training(tmp_path / "run", *TWO)])
    assert process.code == 0, process.errors[-3000:]
    assert process.out.count("global batch 2 × 64 = 128") == 1, "one process speaks"
    assert result(tmp_path / "run")["status"] == "done"


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_a_killed_node_ends_the_run_which_names_its_rank(tmp_path: Path) -> None:
    fault = [str(HERE / "fault.py"), "4:is_killed:1", str(tmp_path)]
    process = execute([str(SCRIPT), sys.executable, *fault, *training(tmp_path / "run", "trainer.max_epochs=4", *TWO)])
    seconds = process.at - float((tmp_path / "step4").read_text())
    print(f"| two nodes, is_killed | 1 | {seconds:.1f} s |")
    assert process.code == 1
    assert "rank 1 ended without a word: it was killed, or its machine is gone" in process.errors
    assert result(tmp_path / "run")["status"] == "failed"
    assert seconds < 60
