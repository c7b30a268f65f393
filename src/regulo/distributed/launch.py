"""Start the processes of a run on this machine, watch them, and start them all again when one dies.

torch's elastic agent, the engine under torchrun, does it. Two rules are ours. When a process has failed, the others get a few
seconds to end by themselves, and as long as they need if they save a checkpoint because they were asked to stop. And what would
come again is not started again.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.agent.server.api import RunResult, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

from regulo.core.environment_variables import restore_variables
from regulo.core.errors import InputError, RunError
from regulo.distributed.environment import LAUNCHER_PID
from regulo.distributed.failure import FailureReport, find_cause, load_reports, tidy_tracebacks
from regulo.distributed.peers import GRACE_SECONDS, RUN_DIR, attempt_store
from regulo.distributed.preemption import EXIT_CODES, SIGNALS, STARTED_AT
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder

SAVE_SECONDS = 600.0
"""that processes have to save and end once they were asked to stop"""
EXIT_REFUSAL = 2
"""exit code of a process that has refused the run and said why"""


def launch(arguments: Sequence[str], processes: int, max_restarts: int) -> int:
    """Run `regulo train` in so many processes. Returns the exit code. Raises RunError for a run that failed.

    They run the command line of this process, if it ends with the training of these arguments.
    """
    command = ["train", *arguments]
    own = sys.orig_argv[1:] if sys.argv[-len(command) :] == command else ["-m", "regulo", *command]
    spec = WorkerSpec(
        role="train",
        local_world_size=processes,
        rdzv_handler=LocalRendezvous(),
        entrypoint=sys.executable,
        args=tuple(argument.replace("$", "$$") for argument in own),  # the agent fills in templates
        max_restarts=max_restarts,
    )
    agent = Agent(spec)
    with _launcher_variables(), _silent_logs(), agent.forward_signals():
        agent.run()
    return agent.exit_code()


class LocalRendezvous(RendezvousHandler):
    """The processes of one machine: each start of them meets at a new store of the launcher."""

    store: Any = None

    @property
    def use_agent_store(self) -> bool:
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        previous = self.store
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, multi_tenant=True)
        if previous and previous.check([RUN_DIR]):
            self.store.set(RUN_DIR, previous.get(RUN_DIR))
        return RendezvousInfo(self.store, 0, 1, RendezvousStoreInfo("127.0.0.1", self.store.port))

    def get_backend(self) -> str:
        return "local"

    def get_run_id(self) -> str:
        return "regulo"

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def shutdown(self) -> bool:
        return True


class Agent(LocalElasticAgent):
    """torch's agent with the rules above."""

    _rdzv_handler: LocalRendezvous

    cause: FailureReport | None = None
    """of the failure that ended the run, or its last start"""
    signal: int | None = None
    """by which this process was last asked to stop"""
    last_exit = 0.0
    """when a process ended, in seconds of the monotonic clock"""

    def __init__(self, spec: WorkerSpec) -> None:
        super().__init__(spec, DefaultLogsSpecs(log_dir=os.devnull))
        self.signals: list[int] = []  # that are still to be forwarded

    # ---- while the processes run

    def _start_workers(self, worker_group: Any) -> dict[int, Any]:
        self.exit_codes: dict[int, int] = {}
        self.exit_times: dict[int, float] = {}
        self.unresponsive: dict[int, str] = {}
        return super()._start_workers(worker_group)

    def _monitor_workers(self, worker_group: Any) -> RunResult:
        """Called every 0.1 s. The agent ends all processes as soon as it knows that one has failed, so it learns it late."""
        running = self._update_exit_codes()
        self._forward_signals(running)
        if running and any(self.exit_codes.values()):
            if time.monotonic() - self.last_exit < self._grace_seconds(running):
                return RunResult(state=WorkerState.HEALTHY)
            self._kill(running)
        result = super()._monitor_workers(worker_group)
        if result.is_failed():
            self.cause = self._find_cause()
            if self._is_final():
                self._remaining_restarts = 0
            elif self._remaining_restarts:
                number = worker_group.spec.max_restarts - self._remaining_restarts + 1
                print(f"regulo: {self.cause.message}; restart {number} of {worker_group.spec.max_restarts}", file=sys.stderr)
        return result

    def _processes(self) -> dict[int, Any]:
        """The processes of this start by rank, as Popen objects."""
        context: Any = self._pcontext
        return {rank: handler.proc for rank, handler in context.subprocess_handlers.items()} if context else {}

    def _update_exit_codes(self) -> dict[int, Any]:
        """Note which processes have ended. Returns those that run."""
        running = {}
        for rank, process in self._processes().items():
            code = process.poll()
            if code is None:
                running[rank] = process
            elif rank not in self.exit_codes:
                self.exit_codes[rank], self.exit_times[rank] = code, time.time()
                self.last_exit = time.monotonic()
        return running

    def _kill(self, running: dict[int, Any]) -> None:
        """End processes that do not end by themselves, and those that they have started."""
        for rank, process in running.items():
            self.unresponsive[rank] = "is stopped" if _is_stopped(process.pid) else "does not respond"
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the agent makes each the first of a group
        for process in running.values():
            with suppress(subprocess.TimeoutExpired):  # stuck in a driver
                process.wait(GRACE_SECONDS)
        self._update_exit_codes()

    def _grace_seconds(self, running: dict[int, Any]) -> float:
        """How long the others may still run after one has ended: the first process saves and reports what all were asked for."""
        if self.exit_codes.get(0) == EXIT_REFUSAL or all(_is_stopped(process.pid) for process in running.values()):
            return 0.0
        stopping = all(code in EXIT_CODES or not code for code in self.exit_codes.values())
        return SAVE_SECONDS if stopping and 0 in running else GRACE_SECONDS

    @contextmanager
    def forward_signals(self) -> Iterator[None]:
        """Inside, whoever asks this process to stop asks its processes. They have sessions of their own."""

        def note(number: int, frame: FrameType | None) -> None:
            self.signal = number
            self.signals.append(number)

        numbers = [n for n in (*SIGNALS, signal.SIGINT) if signal.getsignal(n) != signal.SIG_IGN]
        previous = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _forward_signals(self, running: dict[int, Any]) -> None:
        while self.signals:
            number = self.signals.pop(0)
            for process in running.values():
                process.send_signal(number)

    # ---- when they have ended

    def _is_final(self) -> bool:
        """Whether the run would end in the same way again, or was asked to stop."""
        codes = set(self.exit_codes.values())
        return bool(self.signal or codes & {*EXIT_CODES, EXIT_REFUSAL} or (self.cause and self.cause.is_final))

    def _find_cause(self) -> FailureReport:
        store = attempt_store(self._rdzv_handler.store, self._worker_group.spec.max_restarts - self._remaining_restarts)
        reports, unresponsive = load_reports(store, len(self.exit_codes)), dict(self.unresponsive)
        for rank, code in self.exit_codes.items():
            if not code or rank in reports or rank in unresponsive:
                continue
            if code < 0:
                reports[rank] = FailureReport(f"rank {rank} {_describe_signal(-code)}", time=self.exit_times[rank])
            else:  # by its watchdog, perhaps
                unresponsive[rank] = f"ended with exit code {code}"
        return find_cause(reports, unresponsive, self.folder())

    def folder(self) -> Path | None:
        """The run's folder, once the first process has made it."""
        store = self._rdzv_handler.store
        return Path(store.get(RUN_DIR).decode()) if store and store.check([RUN_DIR]) else None

    def exit_code(self) -> int:
        """The exit code of the run. Raises RunError, with the cause, if it failed, and writes it into result.json."""
        if not any(self.exit_codes.values()):
            return 0
        codes = [self.exit_codes[rank] for rank in sorted(self.exit_codes)]
        for code in codes:
            if code in EXIT_CODES or code == EXIT_REFUSAL == codes[0]:
                return code
        if self.signal and {*codes} <= {0, -self.signal}:  # it came before they listened
            return 128 + self.signal
        assert self.cause
        failure = RunError(self.cause.message)
        if path := self.folder():
            folder = RunFolder(path)
            status = {"status": "failed", "error": self.cause.message, "error_type": self.cause.kind}
            with suppress(OSError, InputError):
                tidy_tracebacks(path)
                folder.save_json("result.json", records.read_or_empty(records.read_result, folder) | status)
            if not self.cause.is_final and (hint := folder.resume_hint()):
                failure.add_note(hint)
        raise failure


def _describe_signal(number: int) -> str:
    hint = ": the system does that when memory runs out" if number == signal.SIGKILL else ""
    return f"was killed ({signal.Signals(number).name}{hint})"


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped, as by SIGSTOP, where the system says so."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "tT"
    return False


@contextmanager
def _launcher_variables() -> Iterator[None]:
    """Inside, processes know that this one is their launcher, and the agent leaves signals to us."""
    variables = {LAUNCHER_PID: str(os.getpid()), STARTED_AT: str(time.monotonic()), "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGQUIT"}
    with restore_variables(*variables):
        os.environ.update(variables)
        yield


@contextmanager
def _silent_logs() -> Iterator[None]:
    """Inside, the agent logs nothing: what there is to say is said once, in one line."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
