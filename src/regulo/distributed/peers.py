"""What the processes of a run tell each other through torch's rendezvous store: what to train, and that one of them failed."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed import DistStoreError, PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.multiprocessing.errors import get_error_handler
from torch.distributed.rendezvous import rendezvous

from regulo.core.errors import RunError
from regulo.distributed.environment import ProcessEnvironment
from regulo.distributed.failure import FailureReport, PeerFailedError, find_cause, load_reports, save_traceback, traceback_file

JOIN_SECONDS = 300.0
"""within which all processes of a run have to appear"""
PREPARE_SECONDS = 86_400.0
"""that the first process may take to look into all images, and to decode them"""
GRACE_SECONDS = 5.0
"""that a process has to end by itself once another one has failed"""
RUN_DIR = "regulo/run_dir"
"""key of the run's folder, which is the same after a restart"""


def attempt_store(store: Any, restarts: int) -> Any:
    """The part of the store that belongs to one start of the processes: torchrun's store outlives them."""
    return PrefixStore(f"regulo/{restarts}", store)


class Peers:
    """The other processes of this run, as one of them sees them."""

    def __init__(self, process: ProcessEnvironment) -> None:
        self.process = process
        self.folder: Path | None = None
        os.environ.update(process.variables())
        timeout = timedelta(seconds=JOIN_SECONDS)
        self.shared_store: Any = next(rendezvous("env://", process.rank, process.world_size, timeout=timeout))[0]
        self.store = attempt_store(self.shared_store, process.restarts)
        if process.launcher == "torchrun" and process.restarts:
            self._meet_at_new_store()

    def _meet_at_new_store(self) -> None:
        """Torchrun's store outlives a restart, and still holds the addresses of the processes that have ended."""
        if self.process.rank == 0:
            self.new_store = TCPStore(self.process.address, 0, is_master=True, wait_for_workers=False, multi_tenant=True)
            self.store.set("port", str(self.new_store.port))
        os.environ |= {"MASTER_PORT": self.store.get("port").decode(), "TORCHELASTIC_USE_AGENT_STORE": "False"}

    # ---- before training

    def restart_folder(self) -> Path | None:
        """The folder of the run, if its processes are started again."""
        has_folder = self.process.restarts and self.shared_store.check([RUN_DIR])
        return Path(self.shared_store.get(RUN_DIR).decode()) if has_folder else None

    def set_folder(self, folder: Path) -> None:
        """The first process has opened the run's folder."""
        self.folder = folder
        for file in folder.glob(traceback_file("*")):  # of an earlier failure
            file.unlink()
        self.shared_store.set(RUN_DIR, str(folder))

    def publish(self, choices: Mapping[str, Any]) -> None:
        """The first process says what to train, and waits for the others. Raises PeerFailedError if one can't take part."""
        self.store.set("choices", json.dumps(dict(choices)))
        for rank in range(1, self.process.world_size):
            try:
                problem = self.store.get(f"joined/{rank}").decode()
            except DistStoreError:
                problem = f"did not appear within {JOIN_SECONDS:.0f} s"
            if problem:
                raise PeerFailedError(f"rank {rank}: {problem}")

    def receive(self) -> tuple[dict[str, Any], Path]:
        """What to train, and in which folder. Ends this process, with exit code 2, if the first one has refused the run."""
        self.store.set_timeout(timedelta(seconds=PREPARE_SECONDS))  # if the first process ends, the launcher ends this one
        choices: dict[str, Any] | None = json.loads(self.store.get("choices"))
        self.store.set_timeout(timedelta(seconds=JOIN_SECONDS))
        if choices is None:
            self.join()
            raise SystemExit(2)
        self.folder = Path(self.shared_store.get(RUN_DIR).decode())
        return choices, self.folder

    def refuse(self) -> None:
        """The first process has refused the run: the others end before it takes the store with it."""
        self.store.set("choices", json.dumps(None))
        if self.process.external_launcher:
            self.store.set_timeout(timedelta(seconds=JOIN_SECONDS / 10))
            with suppress(RuntimeError):
                self.store.wait([f"joined/{rank}" for rank in range(1, self.process.world_size)])

    def join(self, problem: str = "") -> None:
        """Tell the first process that this one takes part, or why it can't."""
        self.store.set(f"joined/{self.process.rank}", problem)

    # ---- when one fails

    def report(self, error: BaseException) -> FailureReport:
        """Let the others know that this process fails."""
        report = FailureReport.of(error, self.process.rank)
        with suppress(RuntimeError):  # the store may be gone
            report.save(self.store, self.process.rank)
            self.join(report.message)
        if self.folder and not (report.is_echo or report.is_final):
            save_traceback(self.folder, self.process.rank, error)
        if self.process.launcher == "torchrun":
            get_error_handler().record_exception(error)  # for its own table of failures
        return report

    def diagnose(self, error: BaseException) -> BaseException:
        """In the first process: what to report as the end of the run, which may be the fault of another process."""
        report = self.report(error)
        if report.is_final:  # of all processes
            return error
        if report.is_echo and self.process.external_launcher:  # our own launcher knows more
            report = self._find_cause()
        failure = RunError(report.message)
        failure.__cause__ = error.__cause__ or error
        return failure

    def _find_cause(self) -> FailureReport:
        ranks, deadline = set(range(self.process.world_size)), time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            reports = load_reports(self.store, len(ranks))
            if len(reports) == len(ranks) or not all(report.is_echo for report in reports.values()):
                break
            time.sleep(0.1)
        message = "ended without a word: it was killed, or its machine is gone"
        return find_cause(reports, dict.fromkeys(sorted(ranks - reports.keys()), message), self.folder)
