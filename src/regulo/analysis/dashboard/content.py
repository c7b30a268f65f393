"""What the page shows: an overview of all runs and studies, and the details of one run when they are asked for."""

import base64
import dataclasses
import functools
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from regulo.analysis import study_record
from regulo.analysis.dashboard.columns import TableColumn, table_columns
from regulo.analysis.dashboard.curves import list_curves
from regulo.analysis.dashboard.selection import Selection
from regulo.core import safe_io
from regulo.core.errors import InputError, one_line
from regulo.core.nested import flatten
from regulo.core.paths import redact_home
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder
from regulo.tracking.run_summary import RunSummary

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_FIGURE_BYTES = 1 << 25
MIN_REFRESH_SECONDS = 2.0
"""age up to which an overview is not made again, however many pages ask"""


class Content:
    """Reads run folders for the page. The text of a request is only looked up among the listed runs, never made into a path."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._lock = threading.Lock()
        self._made = -math.inf
        self._paths: dict[str, Path] = {}
        """run and study folders by their keys"""
        self._overview: dict[str, Any] = {}

    def overview(self, refresh: bool = False) -> dict[str, Any]:
        """The runs by columns, and the studies: the last overview, at once; `refresh`: a new one, unless that is very new."""
        with self._lock:
            if not self._overview or (refresh and time.monotonic() - self._made > MIN_REFRESH_SECONDS):
                self._overview = self._read_overview()
                self._made = time.monotonic()
            return self._overview

    def _read_overview(self) -> dict[str, Any]:
        summaries = self._selection.summaries()
        studies = list(_list_studies(summaries))
        self._paths = {_key(path): path for path in (*(summary.path for summary in summaries), *(path for path, _ in studies))}
        names = {path: study["name"] for path, study in studies}
        columns = table_columns(summary.scores for summary in summaries)
        rows = [_table_row(summary, names.get(summary.path.parent, summary.study)) for summary in summaries]
        titles = [redact_home(str(path)) for path in (*self._selection.folders, *self._selection.runs)]
        return {
            "title": titles[0] if len(titles) == 1 else f"{len(titles)} folders",
            "chosen": [_key(path) for path in self._selection.runs],
            "columns": [dataclasses.asdict(column) for column in columns],
            "runs": _by_columns(rows, columns),
            "studies": [study for _, study in studies],
            "live": True,
        }

    def keys(self) -> list[str]:
        """The keys of the runs, in the order of the overview."""
        keys: list[str] = self.overview()["runs"]["key"]
        return keys

    def _find(self, key: str) -> Path | None:
        """The listed folder of this key."""
        self.overview()
        return self._paths.get(key)

    def details(self, key: str) -> dict[str, Any] | None:
        """Configuration, curves and names of the figures of a run; None if there is no run of this key."""
        path = self._find(key)
        return None if path is None else _read_details(path)

    def figure(self, key: str, name: str) -> bytes | None:
        """A figure of a run, as PNG; None if there is none of this name."""
        path = self._find(key)
        try:
            file = None if path is None else _list_figures(RunFolder.open(path)).get(name)
            return None if file is None else safe_io.read_bytes(file, MAX_FIGURE_BYTES)
        except (InputError, OSError):
            return None

    def report(self, key: str) -> str | None:
        """The report of a run or a study; None if there is none."""
        path = self._find(key)
        if path is None:
            return None
        try:
            safe_io.check_folder(path)
            return safe_io.read_text(path / "report.html")
        except (InputError, OSError):
            return None


def embed_figures(content: Content, key: str, details: dict[str, Any]) -> int:
    """Put the figures of a run into its details, for a page without a server. Returns their bytes."""
    total = 0
    for name in details.get("figures", {}):
        png = content.figure(key, name) or b""
        details["figures"][name] = f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else ""
        total += len(png)
    return total


def _key(path: Path) -> str:
    """The path of a folder as text without undecodable bytes, relative to the current folder if it is below it."""
    text, here = os.path.abspath(path), os.path.join(os.getcwd(), "")
    return os.fsencode(text.removeprefix(here)).decode(errors="backslashreplace")


def _table_row(summary: RunSummary, study: str) -> dict[str, Any]:
    """The values of a run for all columns, and what its card shows."""
    stopped = "stopped before its end" if summary.state == "interrupted" else ""
    progress = summary.epochs / summary.max_epochs if summary.epochs is not None and summary.max_epochs else None
    return summary.scores | {
        "key": _key(summary.path),
        "name": summary.name,
        "state": summary.state,
        "reason": summary.reason or stopped,
        "plan": summary.plan,
        "model": summary.model,
        "data": summary.data,
        "study": study,
        "seed": summary.seed,
        "strength": summary.strength,
        "epochs": summary.epochs,
        "max_epochs": summary.max_epochs,
        "seconds": summary.seconds,
        "started": round(summary.started),
        "size": summary.size,
        "pinned": summary.pinned,
        "progress": progress,
        "seconds_left": summary.seconds_left,
        "can_resume": summary.can_resume,
        "resume": summary.resume_command or "",
        "report": os.path.isfile(summary.path / "report.html"),
    }


CARD_KEYS = ("key", "progress", "resume", "report")
"""what the page needs of a run besides the columns"""


def _by_columns(rows: Sequence[dict[str, Any]], columns: Iterable[TableColumn]) -> dict[str, Any]:
    """The rows by columns. Numbers have six significant digits. A text is stored once, with the index of each run's."""
    result: dict[str, Any] = {}
    for key in (*CARD_KEYS, *(column.key for column in columns)):
        values = [row.get(key) for row in rows]
        texts = [value for value in values if isinstance(value, str)]
        if key != "key" and texts and len(texts) == len(values):
            indices = {text: index for index, text in enumerate(dict.fromkeys(texts))}
            result[key] = {"texts": [one_line(text) for text in indices], "indices": [indices[text] for text in texts]}
        else:
            result[key] = [float(f"{value:.6g}") if type(value) is float else value for value in values]
    return result


def _list_studies(summaries: Iterable[RunSummary]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folders that hold the runs of a study, each with what the page shows of it; one that has not ended yet, too."""
    names = set()
    for summary in summaries:
        folder, record = summary.path.parent, summary.path.parent / "study.json"
        name = folder.name if os.path.isfile(record) else summary.study
        if name and name not in names:
            names.add(name)
            study = {"key": _key(folder), "name": name, "report": os.path.isfile(folder / "report.html")}
            yield folder, study | (_read_study(record, os.path.getmtime(record)) if os.path.isfile(record) else {})


@functools.lru_cache(maxsize=256)
def _read_study(record: Path, changed: float) -> dict[str, Any]:
    """Title of a study; or the problem with its file. `changed`: when it was written, so that a new one is read again."""
    try:
        safe_io.check_folder(record.parent)
        return {"title": one_line(study_record.read(record.parent)["title"]), "time": round(changed), "problem": ""}
    except InputError as error:
        return {"title": "", "time": round(changed), "problem": str(error.problems[0])}


def _read_details(path: Path) -> dict[str, Any]:
    """All about a run that can be read, and the first problem with what cannot."""
    try:
        folder = RunFolder.open(path)
    except (InputError, OSError) as error:
        return {"problem": one_line(str(error))}
    problems: list[str] = []

    def read(part: Callable[[], Any]) -> Any:
        try:
            return part()
        except (InputError, OSError) as error:
            problems.append(one_line(str(error)))
            return {}

    config = read(folder.read_config) | {"environment": read(lambda: records.read_environment(folder))}
    result = read(lambda: records.read_result(folder))
    return {
        "config": {key: _value_text(value) for key, value in flatten(config).items() if key != "run_dir"},
        "curves": read(lambda: list_curves(records.read_metrics(folder), result)),
        "figures": dict.fromkeys(read(lambda: _list_figures(folder)), ""),
        "problem": problems[0] if problems else "",
    }


def _value_text(value: Any) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _list_figures(folder: RunFolder) -> dict[str, Path]:
    """The figures of a run by name. Raises OSError."""
    return {one_line(file.stem): file for file in sorted(folder.figures.glob("*.png")) if _is_png(file)}


def _is_png(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE
