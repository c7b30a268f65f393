"""Who has started the processes: our launcher, torchrun, or srun."""

import pytest

from regulo.config.compose import load_config
from regulo.core.errors import InputError
from regulo.distributed.environment import LAUNCHER_PID, ProcessEnvironment, first_host, process_environment

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
TORCHRUN |= {"GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
SRUN = {"SLURM_JOB_ID": "4012345", "SLURM_STEP_ID": "2", "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "2"}
SRUN |= {"SLURM_NODEID": "1", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "gpu[07-09,12],big1"}


def test_a_process_is_what_its_launcher_says() -> None:
    assert process_environment({}) == ProcessEnvironment()
    assert process_environment(TORCHRUN) == ProcessEnvironment(5, 8, 1, 1, 2, "torchrun", "10.0.0.1", 29500)
    assert process_environment(TORCHRUN | {"TORCHELASTIC_RESTART_COUNT": "2"}).restarts == 2
    assert process_environment(SRUN) == ProcessEnvironment(5, 8, 2, 1, 2, "srun", "gpu07", 15000 + 2347)
    assert process_environment(SRUN | {"MASTER_ADDR": "a", "MASTER_PORT": "7"}).port == 7
    assert process_environment(SRUN).per_node == 4
    assert process_environment(TORCHRUN | {"WORLD_SIZE": "1"}) == ProcessEnvironment(), "a process that is alone"
    ours = process_environment(
        TORCHRUN | {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", LAUNCHER_PID: "7", "GROUP_WORLD_SIZE": "1"}
    )
    assert (ours.launcher, ours.external_launcher) == ("regulo", False), "it may be started again"
    batch_script = {k: v for k, v in SRUN.items() if "STEP" not in k} | {"SLURM_NTASKS": "8"}
    assert process_environment(batch_script) == ProcessEnvironment(), "srun starts the others of a batch script"
    with pytest.raises(InputError, match="srun has started 7 processes on 2 nodes — start as many on every node"):
        process_environment(SRUN | {"SLURM_STEP_NUM_TASKS": "7"})


def test_torch_and_lightning_read_what_srun_says() -> None:
    variables = process_environment(SRUN).variables()
    assert process_environment(variables | {"TORCHELASTIC_RUN_ID": "x", "GROUP_WORLD_SIZE": "2"}) == ProcessEnvironment(
        5, 8, 2, 1, 2, "torchrun", "gpu07", 15000 + 2347
    )


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
    assert first_host(hosts) == first


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (
            ["trainer.devices=3"],
            ["is 3, and torchrun has started 4 processes on every node — trainer.devices=4"],
        ),
        (["trainer.devices=4", "trainer.num_nodes=1"], ["trainer.num_nodes: is 1, and torchrun has started 2 nodes"]),
        (["trainer.devices=4", "trainer.num_nodes=2"], []),
        (["trainer.devices=auto"], []),
        (["trainer=cpu"], ["trainer.devices: is 1", "trainer.num_nodes: is 1"]),
        (
            ["trainer.devices=auto", "trainer.max_restarts=1"],
            ["trainer.max_restarts: torchrun starts the processes, and must restart them — torchrun --max-restarts"],
        ),
    ],
)
def test_a_launcher_that_started_something_else_is_refused(
    overrides: list[str], messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    trainer = load_config(["trainer=ddp_cpu", *overrides]).trainer
    assert not trainer.needs_launcher
    if not messages:
        trainer.check_machine()
        assert (trainer.processes_per_node(), trainer.node_count(), trainer.world_size()) == (4, 2, 8)
        return
    with pytest.raises(InputError) as refusal:
        trainer.check_machine()
    for text in messages:
        assert text in str(refusal.value)


def test_several_nodes_without_a_launcher_are_refused() -> None:
    with pytest.raises(InputError, match="nobody has started processes on 2 nodes — start it on every node"):
        load_config(["trainer=ddp_cpu", "trainer.num_nodes=2"]).trainer.check_machine()


@pytest.mark.parametrize(
    ("overrides", "needs"),
    [(["trainer=cpu"], False), (["trainer=cpu", "trainer.max_restarts=1"], True), (["trainer=ddp_cpu"], True)],
)
def test_a_run_of_one_process_needs_no_launcher_unless_it_may_be_restarted(overrides: list[str], needs: bool) -> None:
    assert load_config(overrides).trainer.needs_launcher == needs
