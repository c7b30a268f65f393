"""Processes that a launcher starts: our own, torchrun, or srun."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regulo.distributed import launch
from regulo.distributed.environment import LAUNCHER_PID
from tests.distributed.conftest import alive, environment, execute, result, training

PRINT = "import os, sys; print(os.environ['RANK'], os.environ['WORLD_SIZE'], sys.argv[1:], flush=True)"


def launch_script(monkeypatch: pytest.MonkeyPatch, script: str, processes: int, *arguments: str, max_restarts: int = 0) -> int:
    """The exit code of processes that run a script, started from a process whose command line ends with `train`."""
    words = ["train", *arguments]
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", script, *words])
    monkeypatch.setattr(sys, "argv", ["-c", *words])
    return launch.launch(arguments, processes, max_restarts)


def test_our_launcher_repeats_the_command_line_and_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "old")
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    assert launch_script(monkeypatch, PRINT, 2, "run_dir=a$$b${local_rank}") == 0
    output = capfd.readouterr()
    expected = "['train', 'run_dir=a$$b${local_rank}']"
    assert sorted(output.out.splitlines()) == [f"0 2 {expected}", f"1 2 {expected}"]
    assert not output.err
    assert dict(os.environ) == before
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("import os, sys, time; os.environ['RANK'] == '0' and sys.exit(2); time.sleep(100)", 2),
        ("import os, sys; sys.exit(143 if os.environ['RANK'] == '1' else 0)", 143),
        ("import os, sys; sys.exit(124)", 124),
    ],
)
def test_the_exit_code_of_what_is_not_started_again(
    script: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x'); "
    assert launch_script(monkeypatch, count + script, 2, max_restarts=3) == code
    assert (tmp_path / "count").read_text() == "xx"


def test_processes_are_started_again_so_often_and_each_restart_is_reported(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script = (
        "import os, signal; print(os.environ['TORCHELASTIC_RESTART_COUNT'], flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with pytest.raises(launch.RunError, match=r"^rank 0 was killed \(SIGKILL: the system does that when memory runs out\)$"):
        launch_script(monkeypatch, script, 1, max_restarts=2)
    output = capfd.readouterr()
    assert output.out.split() == ["0", "1", "2"]
    lines = output.err.splitlines()
    assert [line.rpartition("; ")[2] for line in lines] == ["restart 1 of 2", "restart 2 of 2"]
    assert all(line.startswith("regulo: rank 0 was killed (SIGKILL") for line in lines)


def test_the_others_have_seconds_to_end_after_one_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "GRACE_SECONDS", 1.0)
    script = "import os, sys, time; time.sleep(0 if os.environ['RANK'] == '1' else 100); sys.exit(7)"
    since = time.monotonic()
    with pytest.raises(launch.RunError, match=r"^rank 0 does not respond; rank 1 ended with exit code 7$"):
        launch_script(monkeypatch, script, 2)
    assert 1 < time.monotonic() - since < 20


def test_the_first_process_has_the_time_it_needs_to_save(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.5)
    script = "import os, sys, time; time.sleep(0 if os.environ['RANK'] == '1' else 4); sys.exit(143)"
    since = time.monotonic()
    assert launch_script(monkeypatch, script, 2) == 143
    assert time.monotonic() - since > 4


def test_a_killed_launcher_takes_its_processes_with_it(tmp_path: Path) -> None:
    waits = f"from regulo.distributed.environment import die_with_launcher as d; d(); import time; time.sleep(100) # {tmp_path}"
    starts = f"import sys; sys.orig_argv = [sys.executable, '-c', {waits!r}, 'train']; sys.argv = ['-c', 'train']; "
    starts += "from regulo.distributed.launch import launch; launch([], 2, 0)"
    launcher = subprocess.Popen([sys.executable, "-c", starts], env=environment())
    end = time.monotonic() + 60
    while len(alive(str(tmp_path))) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    assert len(alive(str(tmp_path))) == 3
    time.sleep(2)  # in which they have asked for it
    launcher.kill()
    launcher.wait()
    time.sleep(1)
    assert not alive(str(tmp_path))


def test_a_process_whose_launcher_has_gone_ends_at_once() -> None:
    script = "from regulo.distributed.environment import die_with_launcher as d; d(); print('here')"
    assert execute([sys.executable, "-c", script], **{LAUNCHER_PID: "1"}).code == 1


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_torchrun_starts_a_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "regulo"]
    process = execute([*command, *training(tmp_path / "run")])
    assert process.code == 0, process.errors[-3000:]
    assert process.out.count("global batch 2 × 64 = 128; lr 0.2 as written (not scaled)") == 1, "one process speaks"
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
    output = [process.communicate(timeout=150)[0] for process in both]
    return [(process.returncode, text) for process, text in zip(both, output, strict=True)]


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_srun_starts_a_run_and_scales_the_rate_if_asked_to(tmp_path: Path) -> None:
    (code, output), (other, silence) = srun(
        tmp_path / "run", "optim.lr_base_batch=64", "optim.lr=0.05", "optim.schedule=constant"
    )
    assert (code, other) == (0, 0), output
    assert "lr 0.1: 0.05 for 64 images, scaled linearly" in output
    assert not silence
    header, *rows = [line.split(",") for line in (tmp_path / "run" / "metrics.csv").read_text().splitlines()]
    assert max(float(row[header.index("lr")] or 0) for row in rows) == pytest.approx(0.1)
    assert result(tmp_path / "run")["status"] == "done"


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize("overrides", [["optim.lrr=3"], ["trainer.devices=3"], ["data=image_folder", "data.root=/nowhere"]])
def test_what_is_refused_is_told_once_and_ends_all_processes(overrides: list[str], tmp_path: Path) -> None:
    (code, output), (other, silence) = srun(tmp_path / "run", *overrides)
    assert (code, other) == (2, 2)
    assert output.count("nothing was started") == 1
    assert not silence
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_a_process_that_sees_other_files_ends_the_run_and_is_named(tmp_path: Path) -> None:
    since = time.monotonic()
    (code, output), (other, _) = srun(tmp_path / "run", second=("experiment=of_the_first_node_only",))
    assert time.monotonic() - since < 60
    assert (code, other) == (1, 2)
    assert output.count("regulo: the run failed: rank 1: experiment: has no option 'of_the_first_node_only'") == 1, output
