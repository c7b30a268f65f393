"""A folder of runs of all states, some of them hostile, and a server that shows it."""

import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from regulo.analysis.dashboard.content import Content
from regulo.analysis.dashboard.selection import Selection
from regulo.analysis.dashboard.server import DashboardServer, start_server
from regulo.tracking.run_dir import RunFolder
from tests.dashboard import synthetic

HOSTILE = "<img src=x onerror=alert(1)>"
END = "</script><script>alert(2)</script>"
SECRET = "root:x:0:0:the secret"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with 20 ordinary runs, a study, a run that goes on, and runs with hostile names, errors, YAML and links."""
    root = tmp_path_factory.mktemp("dashboard")
    synthetic.make_study(root, 3)
    synthetic.make_runs(root, 20, figures=2)
    hostile = synthetic.make_run(root / "runs" / HOSTILE, 30, "failed")
    result = json.loads((hostile / "result.json").read_text()) | {"error": END, END: 1.5}
    (hostile / "result.json").write_text(json.dumps(result))
    config = yaml.safe_load((hostile / "config.yaml").read_text())
    config["model"]["name"] = config["data"]["name"] = config["optim"]["schedule"] = END
    config["optim"][END] = END
    (hostile / "config.yaml").write_text(yaml.safe_dump(config))
    (root / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\n" + SECRET.encode())
    linked = synthetic.make_run(root / "runs" / "linked", 31)
    (linked / "figures").mkdir()
    (linked / "figures" / "samples.png").symlink_to(root / "secret.png")
    (root / "secret.html").write_text(SECRET)
    (linked / "report.html").symlink_to(root / "secret.html")
    broken = synthetic.make_run(root / "runs" / "broken", 32)
    (broken / "metrics.csv").write_text("epoch,step,val/loss\n0,1,abc\n")
    (broken / "figures").mkdir()
    (broken / "figures" / "samples.png").write_text("<svg onload=alert(1)>")
    synthetic.make_run(root / "runs" / "unreadable", 33)
    (root / "runs" / "unreadable" / "result.json").write_text("{")
    now = synthetic.make_run(root / "runs" / "going-on", 34, "running", figures=True)
    os.utime(now / "config.yaml")
    return root / "runs"


@pytest.fixture
def going_on(runs: Path) -> Iterator[Path]:
    """The run that goes on, while it does."""
    with RunFolder(runs / "going-on").lock():
        yield runs / "going-on"


@pytest.fixture
def server(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DashboardServer]:
    """A server of these runs, on a free port."""
    monkeypatch.chdir(runs.parent)
    with start_server(Content(Selection([Path("runs")])), 20_000 + os.getpid() % 20_000) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Answer(NamedTuple):
    """What the server has answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The content of a JSON answer."""
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)


Ask = Callable[..., Answer]


@pytest.fixture
def ask(server: DashboardServer) -> Ask:
    """Sends a request with these headers, and returns the answer."""

    def send(path: str = "/", method: str = "GET", **headers: str) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)) as connection:
            connection.putrequest(method, path, skip_host=True)
            sent = {"Host": f"127.0.0.1:{server.server_port}"} | {name.replace("_", "-"): text for name, text in headers.items()}
            for name, text in sent.items():
                connection.putheader(name, text)
            connection.endheaders()
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    return send
