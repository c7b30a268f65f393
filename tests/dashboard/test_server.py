"""The server answers only its own page, reads only the listed folders, and tells the browser to run nothing else."""

import base64
import hashlib
import json
import re
import socket
import stat
from pathlib import Path
from urllib.parse import quote

import pytest

from regulo.analysis.dashboard.server import HEADERS, DashboardServer, start_server
from tests.dashboard.conftest import END, HOSTILE, SECRET, Ask

DONE = "runs/2026-11-26-000000-run"


def test_it_listens_on_loopback_only(server: DashboardServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "127.0.0.1", "[::1]:{port}", "localhost:9999"]
)
def test_names_of_loopback_are_answered(ask: Ask, server: DashboardServer, host: str) -> None:
    assert ask(Host=host.format(port=server.server_port)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8008"},
        {"Host": "127.0.0.1.evil.example:8008"},
        {"Host": "localhost.evil.example"},
        {"Host": "10.0.0.1:8008"},
        {"Host": ""},
        {"Host": "127.0.0.1:80:evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://localhost"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/overview.json", "/figure.png?run=x&name=y"])
def test_requests_from_elsewhere_are_refused(ask: Ask, path: str, headers: dict[str, str]) -> None:
    answer = ask(path, **headers)
    assert answer.status == 403
    assert b"2026-11-26" not in answer.body


@pytest.mark.parametrize("path", ["http://[", "//[x", "/?a=%zz&=&&", "/details.json?run=%00%ff", "/" + "x" * 60_000])
def test_malformed_requests_are_refused_or_ignored(ask: Ask, path: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(path).status in (200, 400, 404)
    assert capfd.readouterr().err == "", "the terminal belongs to the reader"


def test_its_own_page_and_a_link_from_elsewhere_are_answered(ask: Ask, server: DashboardServer) -> None:
    own = f"127.0.0.1:{server.server_port}"
    assert ask("/overview.json", Host=own, Origin=f"http://{own}", Sec_Fetch_Site="same-origin").status == 200
    assert ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(ask: Ask, method: str) -> None:
    assert ask("/", method).status == (501 if method == "PROPFIND" else 405)


@pytest.mark.parametrize("path", ["/", "/overview.json", "/nothing", "/details.json?run=x", f"/details.json?run={DONE}"])
def test_every_answer_forbids_what_no_answer_needs(ask: Ask, path: str) -> None:
    headers = ask(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    for name, text in HEADERS.items():
        assert headers[name] == text
    assert "Python" not in headers["Server"]


def test_the_policy_allows_the_script_and_the_style_of_the_page_and_nothing_else(ask: Ask) -> None:
    answer = ask("/")
    policy, page = answer.headers["Content-Security-Policy"], answer.body.decode()
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert not re.findall(r"<[^>]+\s(on\w+|style)=", page)
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.findall(r"""(?:src|href)=(?!"(?:data:|#))""", markup), "nothing comes from elsewhere"


def test_hostile_text_stays_text(ask: Ask) -> None:
    page = ask("/").body.decode()
    assert HOSTILE not in page
    assert page.count("</script>") == 2, "one ends the data, one the script"
    overview = json.loads(re.findall(r'id="overview">(.*?)</script>', page, re.S)[0])
    assert f"runs/{HOSTILE}" in overview["runs"]["key"]
    assert END in overview["runs"]["model"]["texts"]
    details = ask(f"/details.json?run={quote(f'runs/{HOSTILE}')}").json()
    assert details["config"][f"optim.{END}"] == END


TRAVERSALS = ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/etc/passwd", "/overview.json/../secret.png"]
TRAVERSALS += ["/details.json"]
TRAVERSALS += [
    f"/details.json?run={run}" for run in ("../", "/etc", "runs", "runs/../runs", f"{DONE}/", f"{DONE}%00", f"{DONE}/x")
]
TRAVERSALS += [
    f"/figure.png?run={DONE}&name={name}" for name in ("", "../result", "../../../secret", "/etc/passwd", "samples.png")
]
TRAVERSALS += [f"/figure.png?run={run}&name=samples" for run in ("..", "runs/linked", "runs/broken")]
TRAVERSALS += [f"/report.html?folder={folder}" for folder in ("..", "runs/linked", DONE, "%ff")]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_nothing_outside_a_listed_folder_is_served(ask: Ask, path: str) -> None:
    answer = ask(path)
    assert answer.status == 404
    assert SECRET.encode() not in answer.body


def test_a_link_out_of_a_run_is_a_problem_of_that_run(ask: Ask) -> None:
    details = ask("/details.json?run=runs/linked").json()
    assert list(details) == ["problem"]
    assert "leads out of the folder" in details["problem"]


def test_figures_and_reports_of_listed_folders_are_served(ask: Ask, runs: Path) -> None:
    answer = ask(f"/figure.png?run={DONE}&name=confusion")
    assert answer.body == (runs.parent / DONE / "figures" / "confusion.png").read_bytes()
    assert answer.headers["Content-Type"] == "image/png"
    report = ask("/report.html?folder=runs/studies/quick")
    assert b"The report." in report.body
    policy = report.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox")
    assert "script" not in policy


def test_news_are_sent_once(ask: Ask) -> None:
    tag = ask("/overview.json").headers["ETag"]
    assert ask("/overview.json", If_None_Match=tag).status == 304
    assert ask("/overview.json", If_None_Match='"x"').status == 200


def test_a_port_that_is_taken_is_left_alone(server: DashboardServer) -> None:
    with start_server(server.content, server.server_port) as second:
        assert second.server_port > server.server_port


def test_no_free_port_is_an_error(server: DashboardServer) -> None:
    with pytest.raises(OSError, match="in use"):
        start_server(server.content, server.server_port, attempts=1)


def test_a_browser_that_goes_away_is_no_error(server: DashboardServer, ask: Ask, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing it resets the connection
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert ask("/").status == 200
    assert capfd.readouterr().err == ""


def test_runs_that_cannot_be_written_to_are_shown(ask: Ask, runs: Path) -> None:
    mode = runs.stat().st_mode
    runs.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert len(ask("/overview.json").json()["runs"]["key"]) >= 27
    finally:
        runs.chmod(mode)
