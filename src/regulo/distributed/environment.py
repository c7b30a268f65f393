"""Which of a run's processes this one is: what our launcher, torchrun or srun says in environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regulo.core.errors import InputError, Problem
from regulo.core.processes import die_with_parent

if TYPE_CHECKING:
    from lightning.fabric.plugins import ClusterEnvironment

LAUNCHER_PID = "REGULO_LAUNCHER_PID"
"""environment variable that our launcher sets for the processes it starts"""


@dataclass(frozen=True)
class ProcessEnvironment:
    """Which of a run's processes this one is. Ranks count over all nodes, local ranks on one."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    node: int = 0
    nodes: int = 1
    launcher: str = ""  # "regulo", "torchrun" or "srun"; empty: this process is alone
    address: str = "127.0.0.1"
    port: int = 0
    restarts: int = 0  # how often the launcher has started all processes again

    @property
    def per_node(self) -> int:
        """Processes on every node."""
        return self.world_size // self.nodes

    @property
    def external_launcher(self) -> bool:
        """Whether torchrun or srun has started the processes."""
        return self.launcher in ("torchrun", "srun")

    def variables(self) -> dict[str, str]:
        """The variables by which torch and Lightning know all this. srun has names of its own."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.per_node),
            "GROUP_RANK": str(self.node),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def process_environment(environ: Mapping[str, str] = os.environ) -> ProcessEnvironment:
    """What the launcher of this process says. Raises InputError if nodes have different numbers of processes."""
    if "TORCHELASTIC_RUN_ID" in environ:
        process = _from_elastic(environ)
    elif "SLURM_STEP_NUM_TASKS" in environ and "SLURM_PROCID" in environ:  # srun; a bare batch script has no such step
        process = _from_srun(environ)
    else:
        return ProcessEnvironment()
    if process.world_size == 1 and process.external_launcher:
        return ProcessEnvironment()
    if process.world_size % process.nodes:
        what = f"{process.launcher} has started {process.world_size} processes on {process.nodes} nodes"
        raise InputError(Problem("trainer.devices", what, "start as many on every node"))
    return process


def _from_elastic(environ: Mapping[str, str]) -> ProcessEnvironment:
    """Torch's elastic agent, under torchrun or under our own launcher."""
    world, local_world = (int(environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return ProcessEnvironment(
        rank=int(environ.get("RANK", 0)),
        world_size=world,
        local_rank=int(environ.get("LOCAL_RANK", 0)),
        node=int(environ.get("GROUP_RANK", 0)),
        nodes=int(environ.get("GROUP_WORLD_SIZE", world // local_world)),
        launcher="regulo" if LAUNCHER_PID in environ else "torchrun",
        address=environ.get("MASTER_ADDR", "127.0.0.1"),
        port=int(environ.get("MASTER_PORT", 0)),
        restarts=int(environ.get("TORCHELASTIC_RESTART_COUNT", 0)),
    )


def _from_srun(environ: Mapping[str, str]) -> ProcessEnvironment:
    """A job step of SLURM. Lightning's SLURMEnvironment reads the job's number of tasks, not the step's, hence this."""
    step = int(environ.get("SLURM_JOB_ID", 0)) + int(environ.get("SLURM_STEP_ID", 0))
    hosts = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", "127.0.0.1")
    return ProcessEnvironment(
        rank=int(environ["SLURM_PROCID"]),
        world_size=int(environ["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environ.get("SLURM_LOCALID", 0)),
        node=int(environ.get("SLURM_NODEID", 0)),
        nodes=int(environ.get("SLURM_STEP_NUM_NODES", environ.get("SLURM_NNODES", 1))),
        launcher="srun",
        address=environ.get("MASTER_ADDR") or first_host(hosts),
        port=int(environ.get("MASTER_PORT", 15000 + step % 10000)),  # one that all processes of the step can work out
        restarts=int(environ.get("SLURM_RESTART_COUNT", 0)),
    )


def first_host(hosts: str) -> str:
    """The first name of a SLURM host list: "node[03-05,7],big1" → "node03"."""
    name, bracket, rest = hosts.partition("[")
    if "," in name or not bracket:
        return hosts.split(",")[0]
    inside, _, behind = rest.partition("]")
    first = inside.split(",")[0].split("-")[0]
    return name + first + (first_host(behind) if behind and not behind.startswith(",") else "")


def restart_count(environ: Mapping[str, str] = os.environ) -> int:
    """How often the cluster or a launcher has started this very command again."""
    return sum(int(environ.get(name) or 0) for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"))


def cluster_environment() -> "ClusterEnvironment":
    """Lightning's plugin. Its own guess may start processes, or queue SLURM's jobs again by itself."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    process = process_environment()
    if not process.launcher:
        return LightningEnvironment()
    os.environ.update(process.variables())
    return TorchElasticEnvironment()


def die_with_launcher() -> None:
    """Let the system kill this process when our launcher ends, however that ends. Linux only."""
    launcher = os.environ.get(LAUNCHER_PID)
    if launcher:
        die_with_parent(int(launcher))
