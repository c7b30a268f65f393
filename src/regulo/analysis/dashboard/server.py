"""The server of the page. It listens on loopback, answers only GET, and only to pages that it has made itself."""

import hashlib
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from regulo.analysis.dashboard.assemble import assemble, dump_json
from regulo.analysis.dashboard.content import Content

LOOPBACK = "127.0.0.1"
HOSTS = (LOOPBACK, "localhost", "[::1]")
"""names under which a browser on this machine, or at the other end of an SSH tunnel, reaches the server"""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
REPORT_POLICY = "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""a report may come from a stranger: it runs no script and is not of the page's origin"""


class DashboardServer(ThreadingHTTPServer):
    """Serves the content at a free port of loopback, the given one if that is free."""

    daemon_threads = True

    def __init__(self, content: Content, port: int) -> None:
        self.content = content
        super().__init__((LOOPBACK, port), Handler)

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: DashboardServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Regulo", ""
    timeout = 60

    def do_GET(self) -> None:
        """Answer, or refuse a request that another site has made a browser send."""
        try:
            target = urlsplit(self.path)
        except ValueError:
            return self.send_error(HTTPStatus.BAD_REQUEST)
        answer: Callable[[dict[str, str]], None] | None = {
            "/": self._send_page,
            "/overview.json": self._send_overview,
            "/details.json": self._send_details,
            "/figure.png": self._send_figure,
            "/report.html": self._send_report,
        }.get(target.path)
        if not self._is_own_request():
            return self.send_error(HTTPStatus.FORBIDDEN, "Only the page of this dashboard may ask")
        if answer is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        return answer({name: values[-1] for name, values in parse_qs(target.query).items()})

    def _refuse_method(self) -> None:
        self.close_connection = True
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method

    def _is_own_request(self) -> bool:
        """Whether the request is for a name of loopback (a foreign name can be made to lead here), and from no other site."""
        host = self.headers.get("Host", "")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        origin = self.headers.get("Origin")
        site = self.headers.get("Sec-Fetch-Site", "none")
        is_navigation = self.headers.get("Sec-Fetch-Mode") == "navigate"
        return (
            len(self.headers.get_all("Host", [])) == 1
            and name.lower() in HOSTS
            and origin in (None, f"http://{host}")
            and (site in ("same-origin", "none") or is_navigation)
        )

    def _send_page(self, _: dict[str, str]) -> None:
        page = assemble(self.server.content.overview())
        self._send(page.html.encode(), "text/html; charset=utf-8", f"{page.policy}; frame-ancestors 'none'")

    def _send_overview(self, _: dict[str, str]) -> None:
        body = dump_json(self.server.content.overview(refresh=True)).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if self.headers.get("If-None-Match") == tag:
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.send_header("ETag", tag)
            self.end_headers()
        else:
            self._send(body, "application/json", tag=tag)

    def _send_details(self, query: dict[str, str]) -> None:
        details = self.server.content.details(query.get("run", ""))
        if details is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(dump_json(details).encode(), "application/json")

    def _send_figure(self, query: dict[str, str]) -> None:
        png = self.server.content.figure(query.get("run", ""), query.get("name", ""))
        if png is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(png, "image/png")

    def _send_report(self, query: dict[str, str]) -> None:
        html = self.server.content.report(query.get("folder", ""))
        if html is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(html.encode(), "text/html; charset=utf-8", REPORT_POLICY)

    def _send(self, body: bytes, kind: str, policy: str = "default-src 'none'; frame-ancestors 'none'", tag: str = "") -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy)
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        """End the headers with those that every answer has, errors too."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing: the terminal belongs to the reader."""


def start_server(content: Content, port: int, attempts: int = 50) -> DashboardServer:
    """A server at the first free port from `port` on. Raises OSError if there is none."""
    for candidate in range(port, min(port + attempts, 65536)):
        try:
            return DashboardServer(content, candidate)
        except OSError as error:
            last = error
    raise last
