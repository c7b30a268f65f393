"""One style for all figures: few colors, direct labels, and one drawing for light, dark and paper.

A figure is drawn in the light colors. In the SVG each of them becomes a CSS variable, which the page sets for light and dark.
Blue, vermillion and green are those of Okabe & Ito (2008), which color-blind readers can tell apart, darker or lighter where
text in them needs it: every text has a contrast of at least 4.5 to its background (WCAG 2.2, 1.4.3).
"""

import html
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from regulo.core.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = {
    "paper": ("#ffffff", "#15181c"),
    "panel": ("#f4f6f8", "#1e2227"),
    "ink": ("#1a1d21", "#e8eaed"),
    "muted": ("#59616b", "#a6aeb8"),
    "line": ("#d3d8de", "#3a4149"),
    "blue": ("#0072b2", "#56b4e9"),
    "red": ("#c05200", "#f0a03c"),
    "green": ("#007a59", "#33c79a"),
    "cell": ("#56b4e9", "#00669f"),  # the background of text, at up to full strength
}
"""by name: the color in light mode and on paper, and in dark mode"""
LIGHT = {name: light for name, (light, _) in PALETTE.items()}

WIDTH = 4.6
"""inches: 331 points, which a phone of 390 pixels shows at about their size, so that 9 points stay readable"""
FONT_SIZE = 9.0
"""of all text in figures, in points"""


def rc_params() -> dict[str, Any]:
    """The settings of matplotlib."""
    ink, muted, line = LIGHT["ink"], LIGHT["muted"], LIGHT["line"]
    return {
        "font.size": FONT_SIZE,
        "axes.titlesize": FONT_SIZE,
        "axes.labelsize": FONT_SIZE,
        "xtick.labelsize": FONT_SIZE,
        "ytick.labelsize": FONT_SIZE,
        "text.color": ink,
        "text.parse_math": False,  # a class may be called $x$
        "axes.labelcolor": muted,
        "axes.edgecolor": line,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": line,
        "grid.linewidth": 0.6,
        "xtick.color": line,
        "ytick.color": line,
        "xtick.labelcolor": muted,
        "ytick.labelcolor": muted,
        "lines.linewidth": 1.6,
        "savefig.transparent": True,
        "svg.fonttype": "none",  # text stays text: it can be searched, copied and enlarged
    }


@contextmanager
def figure_style() -> Iterator[None]:
    """A context in which figures are created, and rendered, in this style."""
    import matplotlib

    with matplotlib.rc_context(rc_params()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has the fonts for it
        yield


def axes(height: float, width: float = WIDTH, grid: str = "y") -> Any:
    """Empty axes on a new figure, in inches. grid: the axes with grid lines, "x", "y", "both" or none ("")."""
    ax: Any = new_figure(width, height).subplots()
    ax.grid(False)
    if grid:
        ax.grid(True, axis=grid)
    return ax


def svg(figure: "Figure", name: str, title: str, description: str) -> str:
    """An `<svg>` element whose colors are CSS variables, with a title and a description for readers who cannot see it.

    The name must be unique on the page: the ids begin with it.
    """
    import matplotlib

    file = io.StringIO()
    with figure_style(), matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)  # matplotlib repeats every text in a comment
    text = _prefix_ids(text, name)
    for variable, light in LIGHT.items():
        text = re.sub(rf"{light}\b", f"var(--{variable})", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    head = re.search(r'<svg[^>]*?viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>', text, re.S)
    assert head, "matplotlib writes a view box"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {head[1]} {head[2]}" '
        f'role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(description)}</desc>'
    )
    return opening + text[head.end() :]


def _prefix_ids(text: str, name: str) -> str:
    """An SVG in which every id that is referenced begins with the name; the others are removed."""
    references = set(re.findall(r"(?:url\(|href=\")#([\w-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in references else "", text)
    return re.sub(r'(url\(|href=")#([\w-]+)', rf"\1#{name}-\2", text)


def png(figure: "Figure") -> bytes:
    """The figure as PNG on white, for places that cannot show SVG."""
    file = io.BytesIO()
    with figure_style():
        figure.savefig(file, format="png", dpi=160, transparent=False, facecolor="white")
    return file.getvalue()


def css() -> str:
    """The palette as CSS variables: light, dark where the reader prefers it, and always light on paper.

    The attribute `data-theme` of the page, "light" or "dark", overrules the reader's usual preference.
    """
    light = "".join(f"--{name}:{value};" for name, (value, _) in PALETTE.items())
    dark = "color-scheme:dark;" + "".join(f"--{name}:{value};" for name, (_, value) in PALETTE.items())
    preferred = f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}"
    return f":root{{color-scheme:light;{light}}}{preferred}@media screen{{:root[data-theme=dark]{{{dark}}}}}"


def label_ends(ax: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Label lines at their right ends without overlap: (y, text, name of the color)."""
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    step = 1.25 * FONT_SIZE / 72 / (ax.get_window_extent().height / ax.figure.dpi) * (high - low)
    position = -math.inf
    for y, text, color in sorted(ends):
        position = max(y, position + step)
        ax.annotate(text, (1, position), (4, 0), ("axes fraction", "data"), "offset points", color=LIGHT[color], va="center")


SIDES = (
    (1.0, 0.0, "left"),
    (-1.0, 0.0, "right"),
    (0.0, 1.0, "center"),
    (0.0, -1.0, "center"),
    (0.7, 0.7, "left"),
    (0.7, -0.7, "left"),
    (-0.7, 0.7, "right"),
    (-0.7, -0.7, "right"),
)
"""where a label may lie: right and up from its point, and how it is aligned"""

Area = tuple[float, float, float, float]
"""left, bottom, right, top, in points"""


def label_points(ax: Any, points: Sequence[tuple[float, float, str]], level: float | None = None) -> None:
    """Label points (x, y, text), each on the side where it covers least of the others and of a horizontal line at `level`."""
    ax.figure.draw_without_rendering()
    scale = 72 / ax.figure.dpi  # pixels to points
    box = ax.get_window_extent()
    frame = (scale * box.x0, scale * box.y0, scale * box.x1, scale * box.y1)
    spots = [tuple(scale * v for v in ax.transData.transform((x, y))) for x, y, _ in points]
    occupied_areas: list[Area] = [(x - 3, y - 3, x + 3, y + 3) for x, y in spots]
    if level is not None:
        height = scale * ax.transData.transform((0, level))[1]
        occupied_areas.append((frame[0], height - 0.5, frame[2], height + 0.5))
    for (x, y), (px, py, text) in zip(spots, points, strict=True):
        dx, dy, align = _best_offset(x, y, text, occupied_areas, frame)
        occupied_areas.append(_area(x + dx, y + dy, text, align))
        line = {"arrowstyle": "-", "color": LIGHT["line"], "shrinkA": 0, "shrinkB": 2} if abs(dx) + abs(dy) > 16 else None
        note = ax.annotate(text, (px, py), (dx, dy), textcoords="offset points", ha=align, va="center", arrowprops=line)
        note.set_in_layout(False)


def _best_offset(x: float, y: float, text: str, occupied_areas: Sequence[Area], frame: Area) -> tuple[float, float, str]:
    """How far right and up of its point (x, y), in points, a label covers least, and how it is aligned."""
    candidates = []
    for distance in (5.0, 14.0, 24.0):
        for right, up, align in SIDES:
            dx, dy = distance * right, (distance if right else distance + FONT_SIZE / 2) * up
            area = _area(x + dx, y + dy, text, align)
            cost = sum(_overlap(area, other) for other in occupied_areas) + 50 * _outside(area, frame) + distance
            candidates.append((cost, dx, dy, align))
    _, dx, dy, align = min(candidates, key=lambda candidate: candidate[0])
    return dx, dy, align


def _area(x: float, y: float, text: str, align: str) -> Area:
    """The approximate area of a text."""
    width, height = 0.6 * FONT_SIZE * len(text), 1.1 * FONT_SIZE
    left = x - {"left": 0.0, "center": width / 2, "right": width}[align]
    return left, y - height / 2, left + width, y + height / 2


def _overlap(a: Area, b: Area) -> float:
    """The area that two areas share, in square points."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(a: Area, frame: Area) -> float:
    """How far an area reaches beyond the frame, in points."""
    return sum(max(0.0, d) for d in (frame[0] - a[0], frame[1] - a[1], a[2] - frame[2], a[3] - frame[3]))
