"""The trainer's part of the configuration: devices, precision, checkpoints."""

from typing import Annotated, Any, Literal

from pydantic import Field

from regulo.core.errors import InputError, Problem
from regulo.core.registry import StrictConfig
from regulo.distributed.environment import ProcessEnvironment, process_environment


class TrainerConfig(StrictConfig):
    """The devices, and how long to train."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """auto: a GPU if there is one, else Apple's, else the CPU"""
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    """processes per node, one per device; auto: as many as torchrun or srun has started, or one per GPU"""
    num_nodes: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    """machines; more than one needs torchrun or srun; auto: as many as these have started"""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """auto: one device; ddp: DistributedDataParallel, every process has the whole model and its part of the batch; fsdp: every
    process also has only a part of every weight (for models that do not fit on a device otherwise)"""
    hang_timeout: Annotated[float, Field(gt=0)] | None = 45.0
    """seconds without progress of a process after which a run with several processes fails; ten times as long before the first
    step, and never less than three times the longest pause so far; null: no limit"""
    max_restarts: Annotated[int, Field(ge=0)] = 0
    """how often the run is started again from its last checkpoint when a process raises an error, is killed, or hangs; with
    torchrun use its --max-restarts"""
    sync_batchnorm: bool = False
    """BatchNorm's statistics are computed over the batches of all devices"""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """auto: measured on the run's own model and batch"""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """auto: measured on the run's own model and batch"""
    compile: Literal["auto", "on", "off"] = "auto"
    """train by torch.compile, with other rounding and draws of dropout than without; auto: measured if the run is long enough for
    it to pay, and off in a study"""
    max_epochs: Annotated[int, Field(ge=1)] = 30
    """passes over the training images"""
    max_time: Annotated[str, Field(pattern=r"^(\d+:)?\d{1,2}:\d{2}:\d{2}$")] | None = None
    """[days:]hours:minutes:seconds after which the run stops with a checkpoint; --resume continues it; null: no limit"""
    save_every_n_steps: Annotated[int, Field(ge=1)] | None = None
    """steps between two checkpoints for --resume, rounded up to the next log point; every epoch also ends with one; null: by time
    only"""
    save_every_minutes: Annotated[float, Field(gt=0)] | None = 5.0
    """minutes between two checkpoints for --resume; null: by steps only"""
    log_every_n_steps: Annotated[int, Field(ge=1)] = 20
    """steps between two log points of loss, accuracy, rate and gradient norm; between them nothing waits for the device"""
    limit_batches: Annotated[int, Field(ge=1)] | None = None
    """largest number of steps per epoch of training, and of batches per evaluation of a split, for a quick test; null: all"""
    gradient_checkpointing: bool = False
    """keep only the inputs of the model's blocks for the backward pass, and compute the blocks again there: less memory, about a
    third more time, the same result up to rounding"""
    deterministic: bool = False
    """only deterministic kernels, which are slower; an operation without one is an error"""
    detect_anomaly: bool = False
    """name the operation that made the first NaN; much slower"""

    def run_conditions(self) -> list[str]:
        """The conditions that a technique may be incompatible with: precision, sync_batchnorm, fsdp."""
        return [self.precision, *["sync_batchnorm"] * self.sync_batchnorm, *["fsdp"] * (self.strategy == "fsdp")]

    def processes_per_node(self) -> int:
        """The number of training processes per node."""
        import torch

        if self.devices != "auto":
            return self.devices
        process = process_environment()
        return process.per_node if process.launcher else torch.cuda.device_count()

    def node_count(self) -> int:
        """The number of machines that train."""
        return process_environment().nodes if self.num_nodes == "auto" else self.num_nodes

    def why_not_compiled(self) -> str:
        """What speaks against compilation in this run on this machine; empty: nothing."""
        from regulo.core.compilation import has_compiler

        if self.strategy == "fsdp":
            return "it does not work on sharded weights yet"
        if self.gradient_checkpointing:
            return "blocks that are computed again cannot be compiled"
        if self.detect_anomaly:
            return "in compiled code no operation can be named (trainer.detect_anomaly)"
        return "" if has_compiler(self.device()) else "torch finds no compiler for this device (CXX names that for a CPU)"

    def fixed_compile(self) -> str:
        """`compile` of a run that does not measure it: auto is off."""
        return "off" if self.compile == "auto" else self.compile

    def max_seconds(self) -> float | None:
        """`max_time` in seconds."""
        if self.max_time is None:
            return None
        *days, hours, minutes, seconds = map(int, self.max_time.split(":"))
        return float(86400 * sum(days) + 3600 * hours + 60 * minutes + seconds)

    def world_size(self) -> int:
        """The number of training processes on all machines."""
        return self.processes_per_node() * self.node_count()

    def check_machine(self) -> None:
        """Compare the configuration with this machine's devices and a launcher's processes. Raises InputError."""
        import torch

        problems = self._check_launcher(process_environment())
        gpus, cpu = torch.cuda.device_count(), self.device().type == "cpu"
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            problems.append(Problem("trainer.accelerator", "this machine has no GPU that torch can use", "trainer=auto"))
        elif self.accelerator == "mps" and not torch.backends.mps.is_available():
            problems.append(Problem("trainer.accelerator", "this machine has no Apple GPU that torch can use", "trainer=auto"))
        elif cpu and self.devices == "auto" and not process_environment().external_launcher:
            problems.append(Problem("trainer.devices", "auto counts GPUs, and there is none", "trainer.devices=2"))
        elif not cpu and self.processes_per_node() > max(gpus, 1):
            problems.append(Problem("trainer.devices", f"this machine has {gpus} GPUs", f"trainer.devices={max(gpus, 1)}"))
        elif self.world_size() > 1 and self.strategy == "auto":
            problems.append(Problem("trainer.devices", "several devices need a strategy", "trainer=ddp or trainer=ddp_cpu"))
        if cpu and self.precision == "16-mixed":
            problems.append(Problem("trainer.precision", "16-mixed needs a GPU", "bf16-mixed or auto"))
        if cpu and self.sync_batchnorm:
            problems.append(Problem("trainer.sync_batchnorm", "torch has it on GPUs only", "false"))
        if self.strategy == "fsdp" and self.precision == "16-mixed":
            problems.append(Problem("trainer.precision", "the loss scaler does not see all of a sharded gradient", "bf16-mixed"))
        if self.compile == "on" and (why_not := self.why_not_compiled()):
            problems.append(Problem("trainer.compile", why_not, "off or auto"))
        if self.strategy == "fsdp" and self.gradient_checkpointing:
            problems.append(Problem("trainer.gradient_checkpointing", "it does not work on sharded blocks yet", "false"))
        if problems:
            raise InputError(*problems)

    def _check_launcher(self, process: ProcessEnvironment) -> list[Problem]:
        """The keys that do not match the processes that torchrun or srun has started."""
        if not process.external_launcher:
            hint = "start it on every node with torchrun or srun: docs/distributed.md"
            problem = Problem("trainer.num_nodes", f"nobody has started processes on {self.node_count()} nodes", hint)
            return [problem] if self.node_count() > 1 else []
        launcher, problems = process.launcher, []
        counts = {"devices": (self.processes_per_node(), process.per_node, "processes on every node")}
        counts["num_nodes"] = (self.node_count(), process.nodes, "nodes")
        for key, (value, count, what) in counts.items():
            if value != count:
                text = f"is {value}, and {launcher} has started {count} {what}"
                problems.append(Problem(f"trainer.{key}", text, f"trainer.{key}={count}"))
        if self.max_restarts:
            hint = {"torchrun": "torchrun --max-restarts", "srun": "sbatch --requeue"}[launcher]
            problems.append(Problem("trainer.max_restarts", f"{launcher} starts the processes, and must restart them", hint))
        return problems

    @property
    def needs_launcher(self) -> bool:
        """Whether this process must start other processes for the training."""
        return not process_environment().launcher and (self.world_size() > 1 or self.max_restarts > 0)

    def device(self) -> Any:
        """The torch device of this process."""
        import torch

        if self.accelerator == "cpu":
            return torch.device("cpu")
        if torch.cuda.is_available():
            return torch.device("cuda", process_environment().local_rank)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
