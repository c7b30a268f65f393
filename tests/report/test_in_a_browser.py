"""Pages in a real browser: they render, fit, can be read in light and dark, are described, and make no network request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import CLASSES, LABELS

PAGES = ("run", "study", "strengths", "one_seed", "search")
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"
FIGURES = """() => [...document.querySelectorAll('svg[role=img], img')].map(e => {
  const box = e.getBoundingClientRect();
  const text = e.tagName === 'IMG' ? e.alt : e.getAttribute('aria-labelledby').split(' ').map(i => document.getElementById(i).textContent).join(' ');
  return {width: box.width, height: box.height, text, loaded: e.tagName !== 'IMG' || e.naturalWidth > 0};
})"""  # noqa: E501
LINKS = "() => [...document.querySelectorAll('*')].flatMap(e => [e.getAttribute('src'), e.getAttribute('href'), e.getAttribute('xlink:href')]).filter(Boolean)"  # noqa: E501
ACTIVE = "() => [...document.querySelectorAll('*')].filter(e => e.tagName === 'SCRIPT' || [...e.attributes].some(a => a.name.startsWith('on'))).length"  # noqa: E501
SMALLEST = """() => Math.min(...[...document.querySelectorAll('svg text')].map(e => {
  const m = e.getScreenCTM();
  return parseFloat(getComputedStyle(e).fontSize) * Math.hypot(m.a, m.b);
}))"""
CONTRAST = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const lum = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const background = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c.slice(0, 3); } return null; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const contrasts = [];
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || ['title', 'desc', 'style', 'STYLE'].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const color = parse(e.closest('svg') ? style.fill : style.color).slice(0, 3);
    const [a, b] = [lum(color), lum(background(e))].sort((x, y) => y - x);
    contrasts.push([(a + .05) / (b + .05), walker.currentNode.textContent.trim().slice(0, 40)]);
  }
  return contrasts;
}"""

OpenPage = Callable[..., Any]


@pytest.fixture(name="open_page")
def page_opener(chromium: Any, request: pytest.FixtureRequest) -> Any:
    """Opens the page of a fixture; any message and any request but for the page itself fails the test."""
    messages: list[str] = []
    contexts = []

    def open_page(name: str, width: int = 1280, scheme: str = "light") -> Any:
        file = Path(request.getfixturevalue(name)) / "report.html"
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: None if r.url == file.as_uri() or r.url.startswith("data:") else messages.append(r.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_every_figure_is_there_and_described(open_page: OpenPage, name: str, width: int) -> None:
    page = open_page(name, width)
    assert page.evaluate(OVERFLOW) <= 0
    figures = page.evaluate(FIGURES)
    assert len(figures) >= 4
    for figure in figures:
        assert figure["width"] > 50
        assert figure["height"] > 50
        assert figure["loaded"]
        assert len(figure["text"]) > 5
    assert page.evaluate(SMALLEST) >= 9
    for link in page.evaluate(LINKS):
        assert link.startswith(("#", "data:")), link


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["run", "study", "search"])
def test_every_text_can_be_read(open_page: OpenPage, name: str, scheme: str) -> None:
    page = open_page(name, 1280, scheme)
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 100
    poor = [(round(ratio, 2), text) for ratio, text in contrasts if ratio < 4.5]
    assert not poor
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 24, 28)")


def test_names_that_look_like_markup_are_only_shown(open_page: OpenPage) -> None:
    for name, hostile in (("run", CLASSES), ("study", LABELS)):
        page = open_page(name)
        page.wait_for_timeout(100)
        assert page.evaluate(ACTIVE) == 0
        text = page.evaluate("document.body.textContent")
        for string in hostile:
            assert string in text


def test_it_prints_light_and_without_cutting_tables_off(open_page: OpenPage) -> None:
    page = open_page("study", 720, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('.wide')).overflowX") == "visible"


def test_gray_on_black_would_fail_the_contrast_test(open_page: OpenPage) -> None:
    page = open_page("study", 1280, "dark")
    page.evaluate("document.documentElement.style.setProperty('--muted', '#444444')")
    assert any(ratio < 4.5 for ratio, _ in page.evaluate(CONTRAST))
