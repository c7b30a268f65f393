"""The connection between two processes, and what is said on it: how far a main thread has got."""

import json
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

BEAT = 1.0
"""seconds between two beats"""
GRACE = 5.0
"""seconds that a main thread has to notice by itself, and a process to end by itself"""
KEY = "regulo/line"
"""under which the first process tells the others, in torch's store, where it listens"""
WAITING = ("torch/distributed/", "torch/autograd/graph.py")
"""where a rank waits for others: in a collective operation, or in the backward pass, where DDP has them"""


class Pace:
    """How far the main thread of this process has got. Its callback passes a mark whenever something is done."""

    def __init__(self) -> None:
        self.progress = 0
        self.thread = threading.get_ident()

    def mark(self, *_: Any, **__: Any) -> None:
        """The main thread got further."""
        self.progress += 1

    def callback(self) -> Any:
        """The Lightning callback that passes the marks."""
        from lightning.pytorch import Callback

        training = ("train_epoch_start", "train_batch_start", "train_batch_end", "train_epoch_end")
        validation = ("validation_start", "validation_batch_end", "validation_end")
        return type("Marks", (Callback,), {f"on_{hook}": self.mark for hook in (*training, *validation)})()

    def now(self) -> dict[str, Any]:
        """A beat: progress, and the innermost place of the main thread."""
        frame = sys._current_frames()[self.thread]
        file = Path(frame.f_code.co_filename)
        waits = any(part in file.as_posix() for part in WAITING)
        return {"progress": self.progress, "at": f"{file.name}:{frame.f_lineno} in {frame.f_code.co_name}", "waits": waits}


class Line:
    """One end of a connection on which plain data are said, one JSON object in a line."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.file = connection.makefile("r", encoding="utf-8")
        self.lock = threading.Lock()

    def say(self, **message: Any) -> bool:
        """Returns whether somebody is still there to hear it."""
        try:
            with self.lock:
                self.connection.sendall(f"{json.dumps(message)}\n".encode())
        except OSError:
            return False
        return True

    def hear(self, seconds: float | None) -> dict[str, Any] | None:
        """The next message, or None once the line is broken. Raises TimeoutError after so many seconds of silence."""
        self.connection.settimeout(seconds)
        try:
            message = json.loads(self.file.readline(1_000_000))
        except TimeoutError:
            raise
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        """Nothing more is said or heard."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()
