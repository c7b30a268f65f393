"""Any process but the first: it is told what to train, beats, and ends with the run."""

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from regulo import records
from regulo.errors import Refused, exit_code
from regulo.ranks import launch
from regulo.ranks.launch import JOIN, Place
from regulo.ranks.line import BEAT, GRACE, KEY, Line, Pace
from regulo.ranks.state import KILLED, first_line, is_echo, silent
from regulo.runs import RunFolder
from regulo.stopping import SIGNALS


class Member:
    """Any process but the first: it is told what to train, beats, and ends with the run."""

    def __init__(self, here: Place) -> None:
        self.here, self.pace = here, Pace()
        self.parent = int(os.environ.get(launch.OURS, 0))  # which has started this process, if it is on this machine
        if self.parent:
            threading.Thread(target=self._end_with_parent, daemon=True).start()
        self.code, self.done, self.over = 0, False, threading.Event()
        self.folder: Path | None = None
        port, token = launch.store(here).get(KEY).decode().split()
        self.line = Line(socket.create_connection((here.address, int(port)), JOIN))
        self.line.say(rank=here.rank, token=token)
        threading.Thread(target=self._beat, daemon=True).start()

    def told(self) -> dict[str, Any]:
        """What the first process has chosen. Ends this process, with the exit code of the first, if there will be no run."""
        with suppress(TimeoutError):
            while message := self.line.hear(JOIN):
                if "told" in message:
                    self.folder = Path(message["told"]["run_dir"])
                    return dict(message["told"])
                if "end" in message:
                    raise SystemExit(message["end"])
        raise SystemExit(1)

    def refuses(self, refusal: Refused) -> None:
        """Tell the first process, which may see other files, why there will be no run."""
        self.line.say(error=str(refusal), echo=False, trace="")

    @contextmanager
    def watched(self, patience: float | None) -> Iterator[Pace]:
        """Within: this process trains. An error is handed to the first process; at the end it waits, and ends with that one."""
        self.heard = time.monotonic()
        threading.Thread(target=self._listen, daemon=True).start()
        if patience is not None:
            threading.Thread(target=self._mind, args=(patience,), daemon=True).start()
        try:
            yield self.pace
        except (KeyboardInterrupt, SystemExit) as asked:
            self.code = exit_code(asked)
        except Exception as error:
            self.line.say(error=first_line(error), echo=is_echo(error), trace=traceback.format_exc()[-50_000:])
            os._exit(1)  # torch may wait for its partners even at exit
        self.done = True
        for number in SIGNALS:  # they are for the first process, which is still at work
            signal.signal(number, signal.SIG_IGN)
        self.line.say(done=1)
        while not self.over.wait(BEAT):  # a launcher may take an early end for a sign to end them all
            pass
        if self.code:
            raise SystemExit(self.code)

    def _end_with_parent(self) -> None:
        """The line tells of most ends, but not while there is none yet."""
        while os.getppid() == self.parent:
            time.sleep(BEAT)
        time.sleep(BEAT)  # in which the line tells more
        os._exit(1)

    def _beat(self) -> None:
        while self.line.say(**self.pace.now()):
            time.sleep(BEAT)

    def _listen(self) -> None:
        """End this process with the first one, however that ends."""
        while message := self.line.hear(None):
            self.heard = time.monotonic()
            if "end" in message:
                self.code = self.code or message["end"]
                if not self.done:  # the main thread may wait for a partner that has gone
                    os._exit(self.code)
                self.over.set()
                return
        self._lose(KILLED)

    def _mind(self, patience: float) -> None:
        """Notice that the first process is stopped. After a pause of this very process, what came meanwhile is read first."""

        def misses() -> bool:
            return time.monotonic() - self.heard > patience

        while not self.over.wait(BEAT):
            if misses() and not self.over.wait(GRACE) and misses():
                self._lose(silent(time.monotonic() - self.heard), stopped=True)

    def _lose(self, how: str, stopped: bool = False) -> None:
        """End this process, as the first one can't say any more that it failed."""
        if self.here.rank == 1:
            print(f"regulo: the run failed: rank 0 {how}", file=sys.stderr, flush=True)
            if self.folder and self.folder.is_dir():
                folder = RunFolder(self.folder)
                with suppress(OSError, Refused):
                    told = {"status": "failed", "error": f"rank 0 {how}", "error_type": "Failed"}
                    folder.save_json("result.json", records.result(folder) | told)
                if on := folder.how_to_go_on():
                    print(f"regulo: {on}", file=sys.stderr, flush=True)
        if stopped and os.getppid() == self.parent:
            os.kill(self.parent, signal.SIGKILL)
        os._exit(1)
