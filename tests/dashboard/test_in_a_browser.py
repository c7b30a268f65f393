"""The page in a real browser: what a reader does with it, by pointer and by keyboard, on a desktop and on a phone."""

import json
import re
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from regulo.analysis.dashboard import assemble
from regulo.analysis.dashboard.command import dashboard
from regulo.analysis.dashboard.server import DashboardServer
from regulo.core.errors import InputError
from regulo.tracking.run_filter import filter_runs
from regulo.tracking.run_summary import summarize_runs
from tests.dashboard.conftest import END, HOSTILE
from tests.report.test_in_a_browser import CONTRAST, OVERFLOW

OpenPage = Callable[..., Any]
NAMES = "[...document.querySelectorAll('#rows tr[data-key] th')].map(e => e.textContent)"
RUN = "runs/2026-11-26-{:06d}-run"


@pytest.fixture(name="open_page")
def page_opener(chromium: Any, server: DashboardServer) -> Any:
    """Opens the page; any message, and any request but to the server of the page, fails the test."""
    messages: list[str] = []
    contexts = []

    def open_page(address: str = "", width: int = 1280, scheme: str = "light") -> Any:
        url = address if "://" in address else server.address + address
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith((server.address, "data:", "file:")) else messages.append(r.url))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


def address(*runs: int, **state: str) -> str:
    """The part of the page's address that compares these runs."""
    return "#" + "&".join([*(f"{key}={text}" for key, text in state.items()), *(f"run={RUN.format(i)}" for i in runs)])


def wait_until(page: Any, condition: str) -> None:
    """Return when a JavaScript expression is true. Playwright's own function needs `eval`, which the page forbids."""
    deadline = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def test_no_two_files_of_the_script_share_a_name() -> None:
    files = sorted(assemble.ASSETS.glob("*.js"))
    names = [
        name
        for file in files
        for name in re.findall(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", file.read_text(), re.M)
    ]
    assert len(names) == len(set(names)) > 50
    script = assemble.bundle("main.js")
    assert "import " not in re.sub(r"//.*", "", script)
    for file in files:
        assert file.read_text().split("\n")[0] in script, f"{file.name} is used"


def test_the_table_filters_sorts_and_hides_and_the_address_keeps_it(open_page: OpenPage) -> None:
    page = open_page()
    total = page.evaluate("document.querySelectorAll('#rows tr[data-key]').length")
    assert total >= 27
    page.fill("#filter", "mixup state=done test/acc>0.9")
    rows = page.evaluate(NAMES)
    assert 0 < len(rows) < total
    cells = page.evaluate("[...document.querySelectorAll('#rows td.c-test-acc')].map(e => Number(e.textContent))")
    assert all(value > 90 for value in cells)
    page.fill("#filter", "test/ac>0.9")
    assert page.text_content("#filter-problem") == "There is no column test/ac: did you mean test/acc?"
    page.fill("#filter", "state=done study!=quick")
    page.click("#head button[title='test/acc']")
    values = page.evaluate("[...document.querySelectorAll('#rows td.c-test-acc')].map(e => Number(e.textContent))")
    assert values == sorted(values, reverse=True)
    page.click("#head button[title='test/acc']")
    assert page.get_attribute("th.c-test-acc", "aria-sort") == "ascending"
    page.click("summary:has-text('Columns')")
    page.uncheck("#column-choice label:has-text('techniques') input")
    page.check("#column-choice label:has-text('val accuracy') input")
    page.click("#charts + p", force=True) if page.is_visible("#charts + p") else None
    before = page.evaluate("document.querySelector('#runs-table').innerText")
    page.reload()
    assert page.evaluate("document.querySelector('#runs-table').innerText") == before
    assert page.evaluate("[...document.querySelectorAll('#head button')].map(e => e.title)")[:4] == [
        "name",
        "state",
        "test/acc",
        "test/loss",
    ]


FILTERS = (
    "mixup",
    "MIXUP",
    '"try a lower"',
    "state=done",
    "state!=done model=resnet_small",
    "plan=*mixup*",
    "plan=*cutmix|mixup*",
    "test/acc>0.9",
)
FILTERS += (
    "seed=1 epochs>=6",
    "can_resume=true",
    "pinned=false started>2026-11-25",
    "name=*00000?-run",
    "lr",
    "size>0 study=quick",
)


def test_the_filter_means_what_it_means_in_the_terminal(open_page: OpenPage, runs: Path) -> None:
    page, summaries = open_page(), summarize_runs(runs)
    page.set_viewport_size({"width": 1280, "height": 3000})
    for text in FILTERS:
        page.fill("#filter", text)
        assert page.text_content("#filter-problem") == "", text
        expected = [summary.name for summary in filter_runs(summaries, shlex.split(text))]
        assert sorted(page.evaluate(NAMES)) == sorted(expected), text
    for text in ("nothing=1", "test/acc=x", "model>a", "pinned=yes"):
        page.fill("#filter", text)
        assert page.text_content("#filter-problem"), text
        with pytest.raises(InputError):
            filter_runs(summaries, [text])


def test_the_keyboard_reaches_everything_in_the_table_and_in_a_chart(open_page: OpenPage) -> None:
    page = open_page(address(5))
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "filter"
    page.focus("#rows tr[tabindex='0']")
    for key in ("End", "Home", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    third = page.evaluate("document.activeElement.dataset.key")
    assert page.evaluate("document.activeElement.getAttribute('aria-rowindex')") == "4"
    page.keyboard.press(" ")
    assert page.evaluate("document.activeElement.dataset.key") == third
    assert page.get_attribute(f"#rows tr[data-key={json.dumps(third)}]", "aria-selected") == "true"
    assert "is compared, as B" in page.text_content("#announcement")
    page.wait_for_selector("#charts svg")
    page.focus("#charts svg")
    page.keyboard.press("Home")
    assert re.match(r"epoch 1, A [\d.]+ [\d.]+, B [\d.]+", page.text_content("#announcement"))


def test_compared_runs_show_their_curves_and_what_differs(open_page: OpenPage, runs: Path) -> None:
    page = open_page(address(0, 4, x="step"))
    page.wait_for_selector("#charts svg path")
    label = page.get_attribute("#charts figure[data-panel=accuracy] svg", "aria-label")
    assert re.search(r"Accuracy, % by step\. .*A ends at [\d.]+", label)
    page.click("#charts figure[data-panel=accuracy] summary")
    page.wait_for_selector("#charts figure[data-panel=accuracy] tbody tr")
    table = page.evaluate(
        "[...document.querySelectorAll('#charts figure[data-panel=accuracy] tbody tr')].map(r => r.innerText.split('\\t'))"
    )
    with (runs / RUN.format(0)[5:] / "metrics.csv").open() as file:
        header, *lines = [line.rstrip("\n").split(",") for line in file]
    logged = [dict(zip(header, line, strict=True)) for line in lines]
    expected = {row["step"]: 100 * float(row["val/acc"]) for row in logged if row["val/acc"]}
    shown = {step: float(value) for step, value, *_ in table}
    assert shown == pytest.approx(expected, rel=1e-3)
    configs = [yaml.safe_load((runs / RUN.format(i)[5:] / "config.yaml").read_text()) for i in (0, 4)]
    rows = page.evaluate("[...document.querySelectorAll('#configuration tbody tr')].map(r => r.innerText.split('\\t'))")
    assert ["seed", *(str(config["seed"]) for config in configs)] in rows
    assert ["regularizer.sam.rho", "–", "0.05"] in rows
    assert "optim.lr" not in [row[0] for row in rows]
    page.check("#equal")
    assert page.evaluate("document.querySelectorAll('#configuration tbody tr').length") > len(rows)
    assert page.evaluate("document.querySelectorAll('#figures img').length") == 2


def test_a_failed_run_says_why_and_a_crashed_one_how_it_goes_on(open_page: OpenPage) -> None:
    page = open_page(address(1, 2))
    cards = page.evaluate("[...document.querySelectorAll('#cards li')].map(e => e.innerText)")
    assert "regulo train --resume" in cards[0]
    assert "the training loss is nan" in cards[1]
    assert "--resume" not in cards[1]
    page.click("#cards .command button")
    wait_until(page, "document.querySelector('#cards .command button').textContent !== 'Copy'")


def test_a_running_run_moves(open_page: OpenPage, going_on: Path) -> None:
    page = open_page("#run=runs/going-on")
    page.wait_for_selector("#charts svg path")
    before = page.evaluate("document.querySelector('#charts path').getAttribute('d').split('L').length")
    assert "left" in page.text_content("#cards .progress")
    file = going_on / "metrics.csv"
    content = file.read_text()
    try:
        last = content.rstrip("\n").split("\n")[-1].split(",")
        header = content.split("\n")[0].split(",")
        last[header.index("epoch")], last[header.index("step")] = "6", "559"
        file.write_text(f"{content}{','.join(last)}\n")
        wait_until(page, f"document.querySelector('#charts path').getAttribute('d').split('L').length === {before + 1}")
    finally:
        file.write_text(content)


def test_names_that_look_like_markup_are_only_shown(open_page: OpenPage) -> None:
    page = open_page(f"#run=runs/{HOSTILE}&run=runs/broken&run={HOSTILE}&q={HOSTILE}")
    page.wait_for_selector("#problems li")
    text = page.evaluate("document.body.innerText")
    for string in (HOSTILE, END, "metrics.csv is not what Regulo writes", "This page has no run of that name"):
        assert string in text
    assert page.evaluate("document.querySelectorAll('script:not([type])').length") == 1
    assert page.evaluate("document.querySelectorAll('img[onerror], [onload]').length") == 0


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_it_fits_and_every_text_can_be_read(open_page: OpenPage, width: int, scheme: str) -> None:
    page = open_page(address(0, 1, 2, 3, 4, 5), width, scheme)
    page.wait_for_selector("#charts svg path")
    assert page.evaluate(OVERFLOW) <= 0
    page.evaluate("document.querySelectorAll('details').forEach(element => (element.open = true))")
    poor = [
        (round(ratio, 2), text)
        for ratio, text in page.evaluate(CONTRAST.replace("'STYLE']", "'STYLE', 'SCRIPT']"))
        if ratio < 4.5
    ]
    assert not poor
    page.click("#theme")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "dark" else "rgb(21, 24, 28)")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_page_in_a_file_is_the_same_without_a_server(
    open_page: OpenPage, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in (0, 1):
        shutil.copytree(runs / RUN.format(i)[5:], tmp_path / RUN.format(i))
    file = tmp_path / "page.html"
    assert dashboard([], terminal=False, online=False, file=str(file), port=None, no_browser=False) == 0
    assert capsys.readouterr().out.startswith(f"{file}: 2 runs, ")
    page = open_page(file.as_uri() + address(0, 1))
    page.wait_for_selector("#charts svg path")
    assert page.evaluate("[...document.querySelectorAll('#figures img')].every(image => image.src.startsWith('data:image/png'))")
    assert page.evaluate("document.querySelectorAll('#configuration tbody tr').length") > 1
    assert page.text_content("#connection").startswith("as of ")
