"""Which of a run's processes this one is, and how they find each other: started by the first one, by torchrun, or by srun."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from regulo.errors import Problem, Refused

if TYPE_CHECKING:
    from lightning.fabric.plugins import ClusterEnvironment

OURS = "REGULO_LAUNCHED"
"""environment variable of the processes of a run that its first one has started: the number of that process"""
JOIN = 300.0
"""seconds within which all processes of a run have to appear"""


@dataclass(frozen=True)
class Place:
    """Which of a run's processes this one is. Ranks count over all nodes, local ranks on one."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    node: int = 0
    nodes: int = 1
    launcher: str = ""  # "regulo", "torchrun" or "srun"; empty: this process is alone
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def per_node(self) -> int:
        """Processes on every node."""
        return self.world // self.nodes

    @property
    def foreign(self) -> bool:
        """Whether somebody else has started the processes."""
        return self.launcher in ("torchrun", "srun")


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """What the launcher says, in its environment variables. Raises Refused if nodes have different numbers of processes."""
    if OURS in environment or "TORCHELASTIC_RUN_ID" in environment:
        found = _torchrun(environment)
    elif "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:  # srun; a bare batch script has no such step
        found = _srun(environment)
    else:
        return Place()
    if found.world == 1:
        return Place()
    if found.world % found.nodes:
        what = f"{found.launcher} has started {found.world} processes on {found.nodes} nodes"
        raise Refused(Problem("trainer.devices", what, "start as many on every node"))
    return found


def _torchrun(environment: Mapping[str, str]) -> Place:
    number = {name: int(environment.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    return Place(
        rank=int(environment.get("RANK", 0)),
        world=number["WORLD_SIZE"],
        local_rank=int(environment.get("LOCAL_RANK", 0)),
        node=int(environment.get("GROUP_RANK", 0)),
        nodes=int(environment.get("GROUP_WORLD_SIZE", number["WORLD_SIZE"] // number["LOCAL_WORLD_SIZE"])),
        launcher="regulo" if OURS in environment else "torchrun",
        address=environment.get("MASTER_ADDR", "127.0.0.1"),
        port=int(environment.get("MASTER_PORT", 0)),
    )


def _srun(environment: Mapping[str, str]) -> Place:
    step = int(environment.get("SLURM_JOB_ID", 0)) + int(environment.get("SLURM_STEP_ID", 0))
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "127.0.0.1")
    return Place(
        rank=int(environment["SLURM_PROCID"]),
        world=int(environment["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environment.get("SLURM_LOCALID", 0)),
        node=int(environment.get("SLURM_NODEID", 0)),
        nodes=int(environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES", 1))),
        launcher="srun",
        address=environment.get("MASTER_ADDR") or first_host(hosts),
        port=int(environment.get("MASTER_PORT", 15000 + step % 10000)),  # one that all processes of the step can work out
    )


def first_host(hosts: str) -> str:
    """The first name of a SLURM host list: "node[03-05,7],big1" → "node03"."""
    name, bracket, rest = hosts.partition("[")
    if "," in name or not bracket:
        return hosts.split(",")[0]
    inside, _, behind = rest.partition("]")
    first = inside.split(",")[0].split("-")[0]
    return name + first + (first_host(behind) if behind and not behind.startswith(",") else "")


@contextmanager
def started(arguments: Sequence[str], processes: int) -> Iterator[tuple[Place, list[Any]]]:
    """Within: processes 1 to `processes` − 1 of this machine are there, as this one is process 0; yields it and theirs.

    They run the command line that this process runs, if it ends with the training of these arguments, or else `regulo train`.
    They end when the `Board` of this process does, which kills those that do not.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    mine = ["train", *arguments]
    own = sys.orig_argv[1:] if sys.argv[-len(mine) :] == mine else ["-m", "regulo", *mine]
    meeting = TCPStore("127.0.0.1", 0, processes, True, wait_for_workers=False, multi_tenant=True)  # its port is nobody else's
    shared = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": meeting.port}
    told = {OURS: str(os.getpid()), **{name: str(value) for name, value in shared.items()}}
    before = dict(os.environ)
    others = []
    try:
        for rank in range(1, processes):
            environment = before | told | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            others.append(subprocess.Popen([sys.executable, *own], env=environment, stdin=subprocess.DEVNULL))
        os.environ.update(told | {"RANK": "0", "LOCAL_RANK": "0"})
        yield place(), others
    finally:
        for name in (*told, "RANK", "LOCAL_RANK"):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


def answers(here: Place, seconds: float) -> bool:
    """Whether somebody is, or will soon be, where the processes meet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection((here.address, here.port), timeout=1):
            return True
        time.sleep(0.2)
    return False


def store(here: Place) -> Any:
    """Torch's key-value store of the run's processes: that of the first one, or of torchrun's agent."""
    from torch.distributed.rendezvous import rendezvous

    os.environ |= {"MASTER_ADDR": here.address, "MASTER_PORT": str(here.port)}
    return next(rendezvous("env://", here.rank, here.world, timeout=timedelta(seconds=JOIN)))[0]


def environment() -> "ClusterEnvironment":
    """What Lightning wants to know of the launcher. Its own guesses start processes, and requeue SLURM's jobs by themselves."""
    from lightning.fabric.plugins import ClusterEnvironment

    here = place()

    class Known(ClusterEnvironment):
        creates_processes_externally = True
        main_address = here.address
        main_port = here.port

        @staticmethod
        def detect() -> bool:
            return True

        def world_size(self) -> int:
            return here.world

        def set_world_size(self, size: int) -> None:
            if size != here.world:
                raise AssertionError(f"Lightning counts {size} processes, and there are {here.world}")

        def global_rank(self) -> int:
            return here.rank

        def set_global_rank(self, rank: int) -> None:
            pass  # srun may deal ranks to nodes in turn, which Lightning does not think of

        def local_rank(self) -> int:
            return here.local_rank

        def node_rank(self) -> int:
            return here.node

    return Known()
