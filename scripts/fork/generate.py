"""The files of a project of the user's own: those of a commit of Regulo, without what its form leaves out, renamed."""

import datetime
import io
import json
import re
import string
import subprocess
import sys
import tarfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fork.formatting import format_code
from fork.git import git, remote_address
from fork.names import Names
from fork.parts import FORMS, MANIFEST, matches, split_form
from fork.problems import Problem, RefusalError
from fork.prune import prune
from fork.rename import rename_content, rename_path

RECORD = ".regulo.json"
TEMPLATES = Path(__file__).parent / "templates"
FIRST_VERSION = "0.1.0"
DEFAULTS = re.compile(r"(?m)^  - regularizer: \[(.*)\]$")
"""the line of configs/train.yaml with the default techniques"""


@dataclass(frozen=True)
class Answers:
    """What the user has said about the new project."""

    name: str
    form: str = "full"
    techniques: tuple[str, ...] = ()
    """those that the minimal form keeps beside the default ones of configs/train.yaml"""
    holder: str = ""
    """who holds the copyright"""
    year: int = datetime.date.today().year

    @property
    def names(self) -> Names:
        """The names of the project."""
        return Names(self.name)


@dataclass(frozen=True)
class Source:
    """A commit of Regulo."""

    version: str
    commit: str
    address: str
    """where it can be fetched, or "" if it only is on this machine"""
    files: dict[str, bytes]
    executables: frozenset[str]


def read_source(checkout: Path) -> Source:
    """The commit that is checked out. Raises RefusalError if files were changed since, or if this is no checkout of Regulo."""
    commit = git(checkout, "rev-parse", "HEAD")
    if changes := git(checkout, "status", "--porcelain", "--untracked-files=no").splitlines():
        what = f"has changes that are not in a commit: {', '.join(line[3:] for line in changes[:3])}" + ", …" * (len(changes) > 3)
        raise RefusalError(Problem(str(checkout), what, "commit or stash them, because a new project is made from a commit"))
    archive = subprocess.run(["git", "-C", str(checkout), "archive", "HEAD"], capture_output=True, check=True).stdout
    files, executables = {}, set()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if content := tar.extractfile(member) if member.isfile() else None:
                files[member.name] = content.read()
                executables |= {member.name} if member.mode & 0o100 else set()
    version = re.search(rb'__version__ = "(.+)"', files.get("src/regulo/__init__.py", b""))
    if not version:
        raise RefusalError(Problem(str(checkout), "is not a checkout of Regulo", "git clone it, and run this there"))
    return Source(version[1].decode(), commit, remote_address(checkout), files, frozenset(executables))


def check_form(source: Source, form: str, techniques: tuple[str, ...]) -> list[Problem]:
    """What is wrong with a form and its techniques."""
    names = {
        path.removesuffix(".py").rpartition("/")[2]
        for path in source.files
        if re.fullmatch(r"src/regulo/regularizers/\w+\.py", path)
    }
    names -= {"__init__", "base"}
    problems = [
        Problem("TECHNIQUES", f"there is no {name!r}", f"there are {', '.join(sorted(names))}")
        for name in techniques
        if name not in names
    ]
    if form not in FORMS:
        problems.append(Problem("FORM", f"there is no {form!r}", f"there are {', '.join(FORMS)}"))
    elif techniques and form != "minimal":
        problems.append(Problem("TECHNIQUES", f"the form {form} has all techniques", "FORM=minimal has those that are named"))
    return problems


def make_files(source: Source, answers: Answers) -> dict[str, bytes]:
    """The files of the new project by path, not yet formatted."""
    defaults = DEFAULTS.search(source.files["configs/train.yaml"].decode())
    techniques = {*answers.techniques, *(defaults[1].split(", ") if defaults else ())}  # tests use the default ones
    omission = split_form(source.files, answers.form, techniques)
    remaining = {path: content for path, content in source.files.items() if path not in omission.files}
    unchanged = {path: content for path, content in remaining.items() if matches(path, MANIFEST["unchanged"])}
    templates = _read_templates()  # they take the place of pages that are left out
    omission = replace(omission, files=omission.files - templates.keys())
    files = prune({p: c for p, c in remaining.items() if p not in unchanged} | templates, omission)
    names = answers.names
    files = {rename_path(path, names): rename_content(path, content, names) for path, content in files.items()} | unchanged
    return _fill_in(files, source, answers) | {RECORD: make_record(source, answers)}


def _read_templates() -> dict[str, bytes]:
    return {path: (TEMPLATES / path).read_bytes() for path in list_templates()}


def list_templates() -> list[str]:
    """The paths of the files that every project has for itself: from the first day on, they are the user's."""
    return sorted(str(file.relative_to(TEMPLATES)) for file in TEMPLATES.rglob("*") if file.is_file())


def make_record(source: Source, answers: Answers) -> bytes:
    """What `make update` needs to know: which Regulo this is, and what the user has said."""
    record = {"version": source.version, "commit": source.commit, "address": source.address, "answers": asdict(answers)}
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()


def _fill_in(files: dict[str, bytes], source: Source, answers: Answers) -> dict[str, bytes]:
    """The files with what is different in every project."""
    names = answers.names
    values = {"upstream": "Regulo", "version": source.version, "commit": source.commit[:12], "first_version": FIRST_VERSION}
    values |= {"holder": answers.holder, "year": str(answers.year), "title": names.title}
    for path in list_templates():
        files[path] = string.Template(files[path].decode()).substitute(values).encode()
    package = f"src/{names.package}"
    empty = "fail_at_collect" if "extensions" in FORMS[answers.form] else "skip"  # no technique may be left that a test is about
    has_analysis = any(path.startswith(f"{package}/analysis/") for path in files)
    edits = [
        ("pyproject.toml", r'^version = "[^"]*"', f'version = "{FIRST_VERSION}"'),
        ("pyproject.toml", r'^description = "[^"]*"', f'description = "{names.title}: an image classifier on PyTorch Lightning"'),
        (
            "pyproject.toml",
            r"(?<=^ignore = \[\n)",
            '  "E501", # the formatter breaks code; text may be longer with the name of this project\n',
        ),
        ("pyproject.toml", r'^  "analysis",\n', '  "analysis",\n' if has_analysis else ""),
        ("pyproject.toml", r'^empty_parameter_set_mark = "fail_at_collect"', f'empty_parameter_set_mark = "{empty}"'),
        (f"{package}/__init__.py", r'^__version__ = "[^"]*"', f'__version__ = "{FIRST_VERSION}"'),
        (f"{package}/__init__.py", r'\A""".*?"""', f'"""{names.title}."""'),
    ]
    for path, pattern, replacement in edits:
        text, count = re.subn(f"(?ms){pattern}", replacement.replace("\\", r"\\"), files[path].decode())
        if count != 1:
            raise ValueError(f"{path}: {pattern} is there {count} times")
        files[path] = text.encode()
    return files


def write_tree(source: Source, answers: Answers, folder: Path) -> str:
    """Write the project into an empty folder. Returns a note for the user, or ""."""
    files = make_files(source, answers)
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    for path in source.executables:
        file = folder / rename_path(path, answers.names)
        if file.is_file():
            file.chmod(0o755)
    note = format_code(folder)
    subprocess.run([sys.executable, "scripts/tree.py"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return note
