"""A small W&B server on this machine that can refuse, hang or die."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RUN = {
    "id": "UnVu",
    "name": "stub",
    "displayName": "stub",
    "config": "{}",
    "sweepName": None,
    "historyLineCount": 0,
    "project": {"id": "p", "name": "regulo", "entity": {"id": "e", "name": "somebody"}},
}
RESPONSES = {
    "createArtifact(": {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s"}}}},
    "upsertBucket": {"upsertBucket": {"bucket": RUN, "inserted": True}},
    "viewer": {"viewer": {"id": "v", "entity": "somebody", "username": "somebody", "flags": "{}", "teams": {"edges": []}}},
    "createRunFiles": {"createRunFiles": {"runID": "UnVu", "uploadHeaders": [], "files": []}},
    "serverInfo": {"serverInfo": {"features": [], "cliVersionInfo": {"max_cli_version": "9.9.9"}}},
}


class Server(ThreadingHTTPServer):
    """`mood`: "well"; "refuses" every key; "hangs" at every request; "hangs at work": at POST requests only."""

    daemon_threads = True
    mood = "well"
    rows = 0
    """number of rows of metrics received"""

    posts: list[dict[str, Any]]
    """the content of every POST request"""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.closed = threading.Event()
        self.posts = []
        self.views: list[dict[str, Any]] = []

    def save_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Save a workspace: a new one, unless it has the id of one that is there."""
        view = {"id": f"view{len(self.views)}", **variables}
        others = [other for other in self.views if other["id"] != view["id"]]
        is_new = len(others) == len(self.views)
        self.views = [*others, view]
        return {"view": {"id": view["id"], "name": view["name"]}, "inserted": is_new}

    def die(self) -> None:
        """Stop answering, and refuse connections."""
        self.mood = "hangs"
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Does nothing: a client that disconnects is no error."""


class Handler(BaseHTTPRequestHandler):
    """Handles one request."""

    server: Server

    def do_GET(self) -> None:
        if self.server.mood == "hangs":
            self.server.closed.wait()
        self._respond({})

    do_PUT = do_GET

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        self.server.posts.append(body)
        if self.server.mood.startswith("hangs"):
            self.server.closed.wait()
        if self.server.mood == "refuses":
            self._respond({"errors": [{"message": "user is not logged in"}]}, 401)
        elif self.path.endswith("file_stream"):
            self.server.rows += len(body.get("files", {}).get("wandb-history.jsonl", {}).get("content", []))
            self._respond({"exitcode": None, "limits": {}})
        elif "upsertView" in body.get("query", ""):
            self._respond({"data": {"upsertView": self.server.save_view(body["variables"])}})
        elif "allViews" in body.get("query", ""):
            views = [view for view in self.server.views if view["name"] == body["variables"]["viewName"]]
            self._respond({"data": {"project": {"allViews": {"edges": [{"node": view} for view in views]}}}})
        else:
            query = body.get("query", "")
            self._respond({"data": next((response for name, response in RESPONSES.items() if name in query), {})})

    def _respond(self, content: Any, code: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Does nothing: requests are not logged."""


@contextmanager
def serve(mood: str) -> Iterator[Server]:
    """Context with a server on 127.0.0.1, port `server_port`."""
    server = Server()
    server.mood = mood
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.closed.set()
        server.shutdown()
        server.server_close()
