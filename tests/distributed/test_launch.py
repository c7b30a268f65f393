"""Who starts the processes: the first one, torchrun, or srun."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regulo.config import load
from regulo.errors import Refused
from regulo.ranks import launch
from tests.distributed.conftest import environment, execute, result, training

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
TORCHRUN |= {"GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
SRUN = {"SLURM_JOB_ID": "4012345", "SLURM_STEP_ID": "2", "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "2"}
SRUN |= {"SLURM_NODEID": "1", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "gpu[07-09,12],big1"}


def test_the_place_of_a_process_is_what_its_launcher_says() -> None:
    assert launch.place({}) == launch.Place()
    assert launch.place(TORCHRUN) == launch.Place(5, 8, 1, 1, 2, "torchrun", "10.0.0.1", 29500)
    assert launch.place(SRUN) == launch.Place(5, 8, 2, 1, 2, "srun", "gpu07", 15000 + 2347)
    assert launch.place(SRUN | {"MASTER_ADDR": "a", "MASTER_PORT": "7"}).port == 7
    assert launch.place(SRUN).per_node == 4
    assert launch.place(TORCHRUN | {"WORLD_SIZE": "1"}) == launch.Place(), "a process that is alone"
    batch_script = {k: v for k, v in SRUN.items() if "STEP" not in k} | {"SLURM_NTASKS": "8"}
    assert launch.place(batch_script) == launch.Place(), "srun starts the others of a batch script"
    with pytest.raises(Refused, match="srun has started 7 processes on 2 nodes — start as many on every node"):
        launch.place(SRUN | {"SLURM_STEP_NUM_TASKS": "7"})


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("a", "a"),
        ("a,b", "a"),
        ("a[3-5]", "a3"),
        ("a[03,07-9],b", "a03"),
        ("a,b[1-2]", "a"),
        ("r[1-2]n[5-8]", "r1n5"),
        ("a[7]", "a7"),
    ],
)
def test_the_first_host_of_a_list(hosts: str, first: str) -> None:
    assert launch.first_host(hosts) == first


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["trainer.devices=3"],
            ["is 3, and torchrun has started 4 processes on every node — trainer.devices=4"],
        ),
        (["trainer.devices=4", "trainer.num_nodes=1"], ["trainer.num_nodes: is 1, and torchrun has started 2 nodes"]),
        (["trainer.devices=4", "trainer.num_nodes=2"], []),
        (["trainer.devices=auto"], []),
        (["trainer=cpu"], ["trainer.devices: is 1", "trainer.num_nodes: is 1"]),
    ],
)
def test_a_launcher_that_started_something_else_is_refused(
    overrides: list[str], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    spec = load(["trainer=ddp_cpu", *overrides]).trainer
    if not told:
        spec.check()
        assert (spec.per_node(), spec.nodes(), spec.processes()) == (4, 2, 8)
        return
    with pytest.raises(Refused) as refusal:
        spec.check()
    for text in told:
        assert text in str(refusal.value)


def test_several_nodes_without_a_launcher_are_refused() -> None:
    with pytest.raises(Refused, match="nobody has started processes on 2 nodes — start it on every node"):
        load(["trainer=ddp_cpu", "trainer.num_nodes=2"]).trainer.check()


def test_a_process_that_starts_others_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "old")
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", "import os; print(os.environ['RANK'])"])
    monkeypatch.setattr(sys, "argv", ["-c", "train"])
    before = dict(os.environ)
    with contextlib.ExitStack() as stack:
        here, others = stack.enter_context(launch.started([], 3))
        assert here == launch.place() == launch.Place(0, 3, 0, 0, 1, "regulo", "127.0.0.1", here.port)
        assert [other.wait(30) for other in others] == [0, 0]
    assert dict(os.environ) == before


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_torchrun_starts_a_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "regulo"]
    ended = execute([*command, *training(tmp_path / "run")])
    assert ended.code == 0, ended.errors[-3000:]
    assert ended.out.count("global batch 2 × 64 = 128; lr 0.2 as written (not scaled)") == 1, "one process speaks"
    assert result(tmp_path / "run")["status"] == "done"


def srun(folder: Path, *overrides: str, second: tuple[str, ...] = ()) -> list[tuple[int, str]]:
    """Two processes with srun's variables; exit code and what was said of each. `second`: overrides of one of them only."""
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    step |= {"SLURM_STEP_NODELIST": "localhost", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "try"}
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "regulo", *training(folder, *overrides, *(second if rank else ()))],
            env=environment(**step, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=150)[0] for process in both]
    return [(process.returncode, text) for process, text in zip(both, said, strict=True)]


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_srun_starts_a_run_and_scales_the_rate_if_asked_to(tmp_path: Path) -> None:
    (code, said), (other, silence) = srun(tmp_path / "run", "optim.lr_for_batch=64", "optim.lr=0.05", "optim.schedule=constant")
    assert (code, other) == (0, 0), said
    assert "lr 0.1: 0.05 for 64 images, scaled linearly" in said
    assert not silence
    header, *rows = [line.split(",") for line in (tmp_path / "run" / "metrics.csv").read_text().splitlines()]
    assert max(float(row[header.index("lr")] or 0) for row in rows) == pytest.approx(0.1)
    assert result(tmp_path / "run")["status"] == "done"


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize("overrides", [["optim.lrr=3"], ["trainer.devices=3"], ["data=image_folder", "data.root=/nowhere"]])
def test_what_is_refused_is_told_once_and_ends_all_processes(overrides: list[str], tmp_path: Path) -> None:
    (code, said), (other, silence) = srun(tmp_path / "run", *overrides)
    assert (code, other) == (2, 2)
    assert said.count("nothing was started") == 1
    assert not silence
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_a_process_that_sees_other_files_ends_the_run_and_is_named(tmp_path: Path) -> None:
    since = time.monotonic()
    (code, said), (other, _) = srun(tmp_path / "run", second=("experiment=of_the_first_node_only",))
    assert time.monotonic() - since < 60
    assert (code, other) == (1, 2)
    assert said.count("regulo: the run failed: rank 1: experiment: has no option 'of_the_first_node_only'") == 1, said
