"""`make new`: write a new project beside its final place, commit it, and rename it to its place."""

import argparse
import os
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fork.generate import Answers, Source, check_form, read_source, write_tree
from fork.git import git, identity, run_git
from fork.names import parse_name
from fork.problems import Problem, RefusalError, print_refusal

CHECKOUT = Path(__file__).parents[2]
HELP = """Make a project of your own from this checkout of Regulo, in a new folder with one commit."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a project. Returns the exit code: 0, or 2 if nothing was written."""
    parser = argparse.ArgumentParser(prog="new", description=HELP)
    parser.add_argument("name", metavar="NAME", help='for example "leaf disease"')
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder")
    parser.add_argument("--form", default="full", help="full, core (without claims, doctor and ablation) or minimal")
    parser.add_argument("--techniques", default="", help="of the minimal form, beside those of configs/train.yaml")
    parser.add_argument("--author", default="", help="who holds the copyright; default: the name that git knows")
    words = parser.parse_args(arguments)
    try:
        return make_project(words.name, words.folder, words.form, words.techniques, words.author)
    except RefusalError as refusal:
        return print_refusal("new", refusal.problems)


def make_project(name: str, folder: str, form: str, techniques: str, author: str) -> int:
    """Check everything, and make the project. Returns the exit code. Raises RefusalError with all problems."""
    problems: list[Problem] = []
    source: Source | None = None
    title = name
    chosen = tuple(dict.fromkeys(techniques.replace(",", " ").split()))
    holder = author.strip() or run_git(CHECKOUT, "config", "user.name").stdout.strip()
    try:
        title = parse_name(name, CHECKOUT).title
    except RefusalError as refusal:
        problems += refusal.problems
    try:
        source = read_source(CHECKOUT)
        problems += check_form(source, form, chosen)
    except RefusalError as refusal:
        problems += refusal.problems
    problems += check_folder(folder)
    if problems or not source:
        raise RefusalError(*problems)
    answers = Answers(title, form, tuple(sorted(chosen)), holder or f"The {title} authors")
    target = Path(folder).expanduser().resolve()
    note = build(source, answers, target)
    names = answers.names
    print(f"new: {target}: package {names.package}, command {names.command}, one commit, made from Regulo {source.version}")
    print(f"new: copyright {answers.year} {answers.holder} (another one: AUTHOR=…)")
    if note:
        print(f"new: {note}")
    print(f"new: go on with: cd {shlex.quote(str(target))} && make train")
    return 0


def check_folder(folder: str) -> list[Problem]:
    """Whether a project can be made in a folder."""
    path = Path(folder).expanduser().resolve()
    if not folder.strip():
        return [Problem("DIR", "is empty", 'make new NAME="leaf disease" DIR=../leaf-disease')]
    if path.is_relative_to(CHECKOUT):
        return [Problem("DIR", f"{path} is inside this checkout", "take a folder beside it")]
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        return [Problem("DIR", f"{path} exists and is not an empty folder", "take a new one, nothing is overwritten")]
    parent = next(p for p in path.parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        return [Problem("DIR", f"nothing can be written into {parent}")]
    return []


def build(source: Source, answers: Answers, target: Path) -> str:
    """Make the project in a temporary folder beside its place, and rename it. Returns a note for the user."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        note = write_tree(source, answers, temporary)
        message = f"{answers.names.title}, made from Regulo {source.version} ({source.commit[:12]})"
        git(temporary, "init", "--quiet", "--initial-branch=main")
        git(temporary, "add", "--all", "--force")
        git(temporary, *identity(temporary, answers.holder), "commit", "--quiet", "--no-verify", "--message", message)
        temporary.chmod(0o755)
        temporary.rename(target)  # replaces an empty folder
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return note
