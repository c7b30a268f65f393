"""A run whose processes are started again goes on from its last checkpoint, and ends as the unbroken one, bit for bit."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regulo.__main__ import main
from regulo.tracking import checkpoint_io
from tests.distributed.conftest import TRY, ProcessResult, environment, execute, result, script, training
from tests.distributed.test_faults import TORCHRUN
from tests.interruptions import differences

STEPS = ["trainer.max_epochs=3", "trainer.limit_batches=5", "trainer.log_every_n_steps=2", "trainer.save_every_n_steps=3"]
"""15 steps"""
PLAN = "regularizer=[augment,dropout,mixup,ema,weight_decay,early_stopping]"


def run_with_faults(folder: Path, faults: dict[int, tuple[str, int]], command: list[str]) -> ProcessResult:
    """Run a command in which a rank suffers something in a step; each happens once."""
    python, *fault = script("fault.py", ",".join(f"{step}:{what}:{rank}" for step, (what, rank) in faults.items()), folder)
    launcher = command[: command.index("train")]
    return execute([python, *launcher, *fault, *command[command.index("train") :]])


def words(folder: Path, *overrides: str) -> list[str]:
    return training(folder, *STEPS, PLAN, *overrides)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    process = execute([sys.executable, "-m", "regulo", *words(folder)])
    assert process.code == 0, process.errors
    return folder


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_a_run_that_is_killed_three_times_ends_as_the_unbroken_one(unbroken: Path, tmp_path: Path) -> None:
    draw = random.Random(time.time_ns())
    steps = sorted(draw.sample(range(15), 3))
    faults = {step: ("is_killed", draw.randrange(2)) for step in steps}
    print("killed:", faults)
    process = run_with_faults(tmp_path, faults, words(tmp_path / "run", "trainer.max_restarts=3"))
    assert process.code == 0, process.errors
    lines = [line for line in process.errors.splitlines() if "; restart " in line]
    expected = [f"restart {i} of 3" for i in (1, 2, 3)]
    assert [line.rpartition("; ")[2] for line in lines] == expected
    assert all(f"rank {rank} was killed (SIGKILL" in line for line, (_, rank) in zip(lines, faults.values(), strict=True))
    assert differences(unbroken, tmp_path / "run") == []
    assert result(tmp_path / "run")["restarts"] == 3
    assert result(tmp_path / "run")["status"] == "done"


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_a_rank_that_raises_or_hangs_is_a_reason_to_start_again(unbroken: Path, tmp_path: Path) -> None:
    overrides = ["trainer.max_restarts=2", "trainer.hang_timeout=6"]
    process = run_with_faults(tmp_path, {4: ("hangs", 1), 11: ("raises", 0)}, words(tmp_path / "run", *overrides))
    assert process.code == 0, process.errors
    assert "regulo: rank 1 hangs at fault.py:" in process.errors
    assert "regulo: rank 0: ValueError: this rank has had enough" in process.errors
    assert differences(unbroken, tmp_path / "run") == []
    assert result(tmp_path / "run")["restarts"] == 2


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_a_single_process_is_started_again_in_a_folder_that_it_has_named_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["train", *TRY, *STEPS, PLAN, "trainer=cpu"]
    assert main([*run, "run_dir=unbroken"]) == 0
    process = run_with_faults(tmp_path, {7: ("is_killed", 0)}, [*run, "trainer.max_restarts=1", f"name={tmp_path.name}"])
    assert process.code == 0, process.errors
    assert process.errors.count("regulo: rank 0 was killed") == 1
    (folder,) = (tmp_path / "runs").iterdir()
    assert differences(tmp_path / "unbroken", folder) == []
    assert result(folder)["restarts"] == 1


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_after_the_last_restart_the_run_fails_and_can_be_resumed(unbroken: Path, tmp_path: Path) -> None:
    run = words(tmp_path / "run", "trainer.max_restarts=1")
    process = run_with_faults(tmp_path, {4: ("is_killed", 1), 8: ("is_killed", 0)}, run)
    assert process.code == 1
    assert "rank 0 was killed (SIGKILL" in process.line
    assert result(tmp_path / "run")["restarts"] == 1
    again = execute([sys.executable, "-m", "regulo", "train", "--resume", str(tmp_path / "run")])
    assert again.code == 0, again.errors
    assert differences(unbroken, tmp_path / "run") == []
    assert result(tmp_path / "run")["restarts"] == 1


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_a_loss_that_is_no_number_would_come_again(tmp_path: Path) -> None:
    run = training(tmp_path / "run", "optim.lr=1e30", "regularizer=none", "trainer.max_restarts=3", "trainer.max_epochs=4")
    process = execute([sys.executable, "-m", "regulo", *run])
    assert process.code == 1
    assert "loss is nan" in process.line or "loss is inf" in process.line
    assert "restart" not in process.errors
    assert result(tmp_path / "run")["error_type"] == "NonFiniteLossError"


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_torchrun_starts_it_again(unbroken: Path, tmp_path: Path) -> None:
    run = [*TORCHRUN, "--max-restarts=2", *words(tmp_path / "run")]
    process = run_with_faults(tmp_path, {5: ("is_killed", 1), 9: ("raises", 0)}, run)
    assert process.code == 0, process.errors[-3000:]
    assert differences(unbroken, tmp_path / "run") == []
    assert result(tmp_path / "run")["restarts"] == 2


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_who_stops_the_launcher_stops_the_run_which_can_go_on(number: int, unbroken: Path, tmp_path: Path) -> None:
    log, file = tmp_path / "log", tmp_path / "run" / "metrics.csv"
    slow = ["trainer.max_restarts=3", "trainer.max_epochs=3"]
    python, *fault = script("fault.py", "5:is_slow:0,6:is_slow:0,7:is_slow:1", tmp_path)
    with log.open("w") as output:
        process = subprocess.Popen(
            [python, *fault, *words(tmp_path / "run", *slow)], env=environment(), stdout=output, stderr=output
        )
        end = time.monotonic() + 300
        while not (tmp_path / "step5").exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(300) == 128 + number, log.read_text()
    assert file.is_file()
    text = log.read_text()
    assert text.count(f"go on with: regulo train --resume {tmp_path / 'run'}") == 1, text
    assert "restart 1" not in text
    assert result(tmp_path / "run")["status"] == "interrupted"
    assert checkpoint_io.read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 6, "the next log point"
    again = execute([sys.executable, "-m", "regulo", "train", "--resume", str(tmp_path / "run")])
    assert again.code == 0, again.errors
    assert differences(unbroken, tmp_path / "run") == []
