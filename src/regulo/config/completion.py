"""Shell completion: `regulo completion SHELL` prints a script, which calls `regulo __complete SHELL LINE` at every press of tab.

Nothing here imports torch, because the candidates must come in well under half a second.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from regulo.core import yaml_files
from regulo.core.arguments import ArgumentParser, Choice
from regulo.core.class_fields import read_constant, read_fields
from regulo.core.errors import InputError
from regulo.core.extensions import OPTION, use_extensions
from regulo.core.registry import GROUPS, list_modules
from regulo.tracking.run_dir import list_runs
from regulo.tracking.run_filter import NUMBERS, SWITCHES, TEXTS
from regulo.tracking.run_summary import RunState
from regulo.tracking.runs import ACTIONS

CLASSES = {
    "": ("regulo.config.schema", "RunConfig"),
    "trainer": ("regulo.config.trainer", "TrainerConfig"),
    "logger": ("regulo.tracking.loggers", "LoggerConfig"),
    "study": ("regulo.analysis.ablation.study", "StudyConfig"),
}
"""sections that always have the same class: its module and name"""
OWN_KEYS = {
    "ablate": ("at_once", "launcher"),
    "crossval": ("folds", "seeds", "at_once", "launcher"),
    "tune": (
        "budget",
        "trials",
        "seeds",
        "plans",
        "rungs",
        "study",
        "tune.search",
        "tune.fix",
        "tune.objectives",
        "at_once",
        "launcher",
    ),
}
"""keys of commands that are not keys of a run"""
MULTIPLE = ("regularizer", "callbacks")
"""groups with any number of extensions; `schema.MULTI` without importing the schema"""

BASH = """\
_regulo() {
    local IFS=$'\\n'
    COMPREPLY=($("$1" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null))
}
complete -o nospace -o default -F _regulo regulo
"""
ZSH = """\
#compdef regulo
_regulo() {
    local -a closed open
    local candidate
    for candidate in ${(f)"$("${words[1]}" __complete zsh "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}"}; do
        if [[ $candidate == *' ' ]]; then closed+=("${candidate% }"); else open+=("$candidate"); fi
    done
    (( $#closed + $#open )) || { _files; return }
    (( $#closed )) && compadd -- $closed
    (( $#open )) && compadd -S '' -- $open
}
if [ "$funcstack[1]" = "_regulo" ]; then _regulo; else compdef _regulo regulo; fi
"""
FISH = """\
function __regulo_candidates
    set -l words (commandline -opc)
    set -l candidates ($words[1] __complete fish (commandline -cp) 2>/dev/null)
    if test (count $candidates) -gt 0
        printf '%s\\n' $candidates
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c regulo -f -a '(__regulo_candidates)'
"""


def completion(shell: str) -> int:
    """Print the completion script of a shell. Returns the exit code."""
    print({"bash": BASH, "zsh": ZSH, "fish": FISH}[shell], end="")
    return 0


def print_candidates(parsers: Mapping[str, ArgumentParser], request: Sequence[str]) -> int:
    """Print the candidates for the last word of a command line, one per line; a space at the end: the word is complete.

    `request`: the name of the shell, the line up to the cursor, and for bash the characters at which it breaks words.
    """
    shell, line, breaks = [*request, ""][:3]
    words, in_quotes = split_line(line)
    try:
        with use_extensions(words[1:-1]) as before:
            candidates = list_candidates(parsers, before, words[-1])
    except InputError:  # the command itself says what is wrong with an extension
        candidates = []
    prefix = 0  # length of the part of the word that bash does not replace
    if shell == "bash" and not in_quotes:
        prefix = max(words[-1].rfind(letter) for letter in breaks) + 1 if breaks else 0
    for candidate in candidates:
        print(candidate[prefix:] if shell != "fish" else candidate.rstrip())
    return 0


def split_line(line: str) -> tuple[list[str], bool]:
    """The words of a line up to the cursor, and whether the last word, the current one, is in open quotes."""
    words, quote, is_escaped = [""], "", False
    for letter in line:
        if is_escaped:
            words[-1] += letter
            is_escaped = False
        elif letter == "\\" and quote != "'":
            is_escaped = True
        elif letter == quote:
            quote = ""
        elif quote or (letter not in "'\"" and not letter.isspace()):
            words[-1] += letter
        elif letter in "'\"":
            quote = letter
        elif words[-1]:
            words.append("")
    return words if len(words) > 1 else [*words, ""], bool(quote)


def list_candidates(parsers: Mapping[str, ArgumentParser], before: Sequence[str], current: str) -> list[str]:
    """The candidates for the word `current`, after the words `before` it (without the program)."""
    if not before or before == ["help"]:
        words = [f"{word} " for word in (*parsers, "help", "--help", "--version")]
    elif before[0] in parsers:
        words = list(_list_arguments(parsers[before[0]], before, current))
    else:
        words = []
    return sorted({word for word in words if word.startswith(current)})


def _list_arguments(parser: ArgumentParser, before: Sequence[str], current: str) -> Iterable[str]:
    actions = parser._actions
    by_name = {name: action for action in actions for name in action.option_strings}
    option = by_name.get(before[-1])
    if option and option.nargs is None and option.metavar:  # the current word is its value
        return _list_values(option, before, current)
    if current.startswith("-"):
        return [f"{name} " for name in by_name]
    positionals = [action for action in actions if not action.option_strings]
    index = sum(1 for word in before[1:] if not word.startswith("-"))
    return _list_values(positionals[min(index, len(positionals) - 1)], before, current) if positionals else []


def _list_values(action: argparse.Action, before: Sequence[str], current: str) -> list[str]:
    """The values of an argument, by its type or by its metavar."""
    if isinstance(action.type, Choice):
        return [f"{option} " for option in action.type.options]
    metavar = str(action.metavar or "")
    values = _list_overrides(before, current) if "override" in metavar else []
    if metavar == "KEY":
        values += [f"{key} " for key in (*TEXTS, *NUMBERS, *SWITCHES)]
    if metavar == "FILTER":
        values += _list_run_words(before)
    if "RUN" in metavar or (metavar == "FILTER" and before[1:2] and before[1] in ACTIONS):
        values += [f"{name} " for name in ("latest", *["best"] * (action.dest != "resume"), *map(str, list_runs()))]
    if metavar == "STUDY" and before[0] == "tune":
        values += ["latest ", *(f"{file.parent.name} " for file in Path("runs/tune").glob("*/settings.json"))]
    elif "STUDY" in metavar:
        values += [f"{file.parent} " for file in Path("runs/studies").glob("*/study.json")]
    if metavar == "name":
        values += [f"{name} " for name in list_modules("regulo.analysis.claims")]
    return values


def _list_run_words(before: Sequence[str]) -> list[str]:
    """The words of `regulo runs`: at the first place also what can be done with runs; after that, only filters."""
    if before[1:2] and before[1] in ACTIONS:
        return []
    states = [f"state={state} " for state in get_args(RunState)]
    keys = [f"{key}=" for key in (*TEXTS, *NUMBERS, *SWITCHES) if key != "state"]
    return [*(f"{action} " for action in ACTIONS if len(before) == 1), *states, *keys]


def _list_overrides(before: Sequence[str], current: str) -> list[str]:
    groups = yaml_files.list_groups()
    if before[0] == "ablate":
        groups["study"] = list(yaml_files.list_options("study"))
    sign = current[: len(current) - len(current.lstrip("+~"))]
    word = current[len(sign) :]
    key, equals, value = word.partition("=")
    if equals:
        values = _list_options(key, value, groups) if key in groups else [f"{v} " for v in _list_field_values(key, before)]
        return [f"{sign}{key}={v}" for v in values]
    return [f"{sign}{k}" for k in _list_keys(key, sign, groups, before)]


def _list_options(group: str, value: str, groups: Mapping[str, list[str]]) -> list[str]:
    """The options of a group, alone or as the next entry of a list such as `[mixup,`."""
    if not value.startswith("["):
        return [*(f"{option} " for option in groups[group]), *["["] * (group in MULTIPLE)]
    previous, _, _ = value.rpartition("," if "," in value else "[")
    start = f"{previous}," if "," in value else "["
    entries = start.strip("[,").split(",")
    return [start + option for option in groups[group] if option not in entries]


def _list_keys(key: str, sign: str, groups: Mapping[str, list[str]], before: Sequence[str]) -> list[str]:
    """The keys at the level of this one: `optim.`, and inside it `optim.lr=`."""
    section, dot, rest = key.partition(".")
    own = OWN_KEYS.get(before[0], ())
    if not dot:
        sections = {*GROUPS, *CLASSES} - {"", "study"}
        if before[0] == "ablate":
            sections.add("study")
        return [*(f"{g}=" for g in (*groups, *own, OPTION, *read_fields(*CLASSES[""]))), *(f"{s}." for s in sections)]
    if section in MULTIPLE and "." not in rest:
        return [f"{section}.{name}{' ' if sign == '~' else '.'}" for name in list_modules(GROUPS[section])]
    parent = key.rpartition(".")[0]
    return [*(f"{name}=" for name in own if "." in name), *(f"{parent}.{field}=" for field in _read_fields(parent, before))]


def _list_field_values(key: str, before: Sequence[str]) -> list[str]:
    if key == "monitor":
        names = list_modules("regulo.core.metrics")
        return [f"val/{name}" for name in names if read_constant(f"regulo.core.metrics.{name}", "in_validation")]
    parent, _, field = key.rpartition(".")
    return _read_fields(parent, before).get(field, [])


def _read_fields(parent: str, before: Sequence[str]) -> dict[str, list[str]]:
    """The fields and values of `optim`, `trainer` or `regularizer.mixup`.

    Of a group such as `optim`: those of the option on the line, or of all options.
    """
    section, _, name = parent.partition(".")
    if section in CLASSES:
        return read_fields(*CLASSES[section])
    if section not in GROUPS:
        return {}
    names = list_modules(GROUPS[section])
    if section in MULTIPLE:
        names = [name] if name in names else []
    else:
        names = [n for n in names if f"{section}={n}" in before] or names
    return {field: values for n in names for field, values in read_fields(f"{GROUPS[section]}.{n}").items()}
