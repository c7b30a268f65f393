"""Dockerfile and dev container, as far as they can be checked without an engine that builds them."""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = {"ARG", "FROM", "SHELL", "RUN", "WORKDIR", "USER", "ENV", "COPY", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_every_instruction_is_known_and_every_source_exists() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert instructions()[0][0] == "ARG"
    for word, rest in instructions():
        assert word in INSTRUCTIONS
        if word == "COPY":
            *sources, target = [part for part in rest.split() if not part.startswith("--")]
            assert target.startswith("./") or target == "."
            for source in sources:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] not in ignored, source


def test_what_is_run_has_been_copied_before() -> None:
    copied = ""
    for word, rest in instructions():
        copied += rest if word == "COPY" else ""
        for script in re.findall(r"\bscripts/[\w.]+", rest if word == "RUN" else ""):
            assert script in copied
            text = (ROOT / script).read_text()
            for file in re.findall(r"-r (locks/\S+)", text):
                assert (ROOT / file).is_file()
    for needed in ("pyproject.toml", "README.md", "LICENSE", "locks", "configs"):  # the build of the package reads them
        assert needed in copied.partition(" . .")[0]


def test_the_user_is_not_root_and_no_secret_is_copied() -> None:
    assert [rest for word, rest in instructions() if word == "USER"] == ["user"]
    assert not any(re.search(r"KEY|TOKEN|PASSWORD|SECRET", rest) for word, rest in instructions() if word in ("ARG", "ENV"))
    assert {".git", ".venv", "runs", "data", "**/.env", "**/.netrc"} <= set((ROOT / ".dockerignore").read_text().split())


def test_the_container_starts_the_command_of_the_project() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    entrypoint = next(rest for word, rest in instructions() if word == "ENTRYPOINT")
    assert json.loads(entrypoint) == list(scripts)


def test_the_dev_container_uses_the_same_file_and_targets_that_exist() -> None:
    content = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert (ROOT / ".devcontainer" / content["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert content["remoteUser"] == "user"
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert re.findall(r"make ([a-z-]+)", content["postCreateCommand"]) == ["setup"]
    assert "setup" in targets
