"""`python -m fork.update PROJECT`: take the version of this checkout into a project that was made from an earlier one.

A three-way merge without a common history: the project as the recorded version makes it, as this version makes it, and as it is
now. The first two become commits of the project, and git picks the second one. So conflicts and renames are git's.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from fork.generate import RECORD, list_templates, read_source
from fork.git import git, identity, remote_address, run_git
from fork.problems import Problem, RefusalError, print_refusal

CHECKOUT = Path(__file__).parents[2]


def main(project: str) -> int:
    """Update a project. Returns the exit code: 0, 1 if there are conflicts, 2 if nothing was changed."""
    try:
        return update(Path(project))
    except RefusalError as refusal:
        return print_refusal("update", refusal.problems)


def update(project: Path) -> int:
    """Generate both versions, and pick the difference. Returns the exit code. Raises RefusalError before anything is changed."""
    check_project(project)
    record = json.loads((project / RECORD).read_text(encoding="utf-8"))
    commit = git(CHECKOUT, "rev-parse", "HEAD")
    if commit == record["commit"]:
        print(f"update: nothing to do, this project is at Regulo {record['version']} ({commit[:12]})")
        return 0
    if run_git(CHECKOUT, "cat-file", "-e", record["commit"] + "^{commit}").returncode:
        what = f"does not have the commit {record['commit'][:12]}, from which this project was made"
        raise RefusalError(Problem("FROM", what, "take a repository with the whole history"))
    if run_git(CHECKOUT, "merge-base", "--is-ancestor", commit, record["commit"]).returncode == 0:
        raise RefusalError(Problem("REF", f"{commit[:12]} is older than this project's Regulo {record['version']}"))
    version = read_source(CHECKOUT).version
    message = f"Update from Regulo {record['version']} to {version} ({commit[:12]})"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        git(CHECKOUT, "worktree", "add", "--quiet", "--detach", f"{temporary}/old", record["commit"])
        before = generate(Path(temporary, "old"), project, Path(temporary, "before"))
        after = generate(CHECKOUT, project, Path(temporary, "after"))
        for path in list_templates():
            (after / path).write_bytes((before / path).read_bytes())
        (before / RECORD).write_bytes((project / RECORD).read_bytes())
        new_record = json.loads((after / RECORD).read_text(encoding="utf-8"))
        new_record["address"] = remote_address(CHECKOUT) or record["address"]
        (after / RECORD).write_text(json.dumps(new_record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        holder = record["answers"]["holder"]
        base = commit_tree(project, before, Path(temporary, "index"), f"Made from Regulo {record['version']}", holder)
        picked = commit_tree(project, after, Path(temporary, "index"), message, holder, base)
    return pick(project, picked, base, holder, version)


def check_project(project: Path) -> None:
    """Raises RefusalError if something is not committed, or a merge is under way."""
    if changes := git(project, "status", "--porcelain", "--untracked-files=no").splitlines():
        what = f"has changes that are not in a commit: {', '.join(line[3:] for line in changes[:3])}" + ", …" * (len(changes) > 3)
        raise RefusalError(Problem(".", what, "commit or stash them first"))
    for name in ("CHERRY_PICK_HEAD", "MERGE_HEAD", "REVERT_HEAD"):
        if run_git(project, "rev-parse", "--verify", "--quiet", name).returncode == 0:
            raise RefusalError(Problem(".", f"{name} is there: a merge is not finished", "finish it, or abort it"))


def generate(checkout: Path, project: Path, folder: Path) -> Path:
    """The project as a version of Regulo makes it, with the generator of that version."""
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(checkout / "scripts")}
    command = [sys.executable, "-m", "fork.tree", str(project / RECORD), str(folder)]
    process = subprocess.run(command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise RefusalError(Problem(str(checkout), (process.stderr.strip().splitlines() or ["fails"])[-1]))
    return folder


def commit_tree(project: Path, folder: Path, index: Path, message: str, holder: str, *parents: str) -> str:
    """A commit of the project's repository with exactly these files. No branch and no file of the project changes."""
    index.unlink(missing_ok=True)
    environment = {"GIT_INDEX_FILE": str(index)}
    git(project, "--work-tree", str(folder), "add", "--all", "--force", ".", env=environment)
    tree = git(project, "write-tree", env=environment)
    options = [word for parent in parents for word in ("-p", parent)]
    return git(project, *identity(project, holder), "commit-tree", tree, *options, "-m", message)


def pick(project: Path, commit: str, base: str, holder: str, version: str) -> int:
    """Merge the commit into the current branch, and say what came of it. Returns the exit code."""
    options = ["-c", "merge.renameLimit=5000", "-c", "merge.conflictStyle=merge", "-c", "core.hooksPath=/dev/null"]
    process = run_git(project, *identity(project, holder), *options, "cherry-pick", commit)
    if process.returncode == 0:
        print(f"update: at Regulo {version}; {git(project, 'diff', '--shortstat', 'HEAD~1').strip()}; git show tells all")
        return 0
    conflicts = git(project, "diff", "--name-only", "--diff-filter=U").splitlines()
    if not conflicts:
        run_git(project, "cherry-pick", "--abort")
        raise RefusalError(Problem("git cherry-pick", " ".join(process.stderr.split())))
    size = git(project, "diff", "--shortstat", base, commit).strip()
    print(f"update: Regulo {version}: {size}; {len(conflicts)} in conflict with yours:")
    for line in git(project, "status", "--porcelain").splitlines():
        if line[3:].strip('"') in conflicts:
            print(f"  {CONFLICTS.get(line[:2], 'both changed it')}: {line[3:]}")
    print("update: edit them, git add them, then: git cherry-pick --continue     (or undo everything: git cherry-pick --abort)")
    return 1


CONFLICTS = {"DU": "you deleted it, Regulo changed it", "UD": "Regulo deleted it, you changed it", "AA": "both added it"}
"""what git says about a path → what it means here"""


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
