"""Command lines and values as nobody should write them: what the fuzzing draws from."""

from typing import Any

from hypothesis import strategies as st

from regulo.config import schema
from regulo.config.json_schema import field_schemas
from regulo.core import registry, yaml_files

# fmt: off
NAMES = [
    "../../x", "/etc/passwd", "<script>alert(1)</script>", "a\0b", "two\nlines", "\x1b[2J", "-rf", "x" * 300, "x/" * 400, "..",
    ".", "~", "~nobody/x", "é", "\udcff", "𝕏", "CON", " ", "$(touch owned)", "`touch owned`", "; touch owned", "%s%n",
    "{0.__class__}",
]
JUNK = [
    "", "null", "true", "nan", "-inf", "1e400", "9" * 30, "9" * 5000, "-1", "0", "-0.0", "1e-320", "0x10", "1_000", "None", "???",
    "[]", "[1,[2,[3]]]", "{}", "{a:{b:[1,{c:d}]}}", "'", '"', "'x", "[", "}", "((", "\\", "\\'", "a b", "a=b=c", "a,b", "1,2",
    "=", ",", "${", "${}", "${optim.lr}", "${oc.env:HOME}", "${oc.env:NOT_SET}", "${hydra:runtime.cwd}", "${.lr}", "${..x}",
    "${a.${b}}", "$", "${oc.create:{a:1}}", "${oc.select:x,y}", "${${a}:b}", "range(1,3)", "choice(a,b)", "glob(*)", "sort(3,1)",
    "int(3.5)",
    "str(x)", "json_str('{}')", "float(nan)", "bool(x)", "shuffle(a,b)", "tag(x,1)", "interval(0,1)", "int([1])", "range(1,1e9)",
    "f(x)", "[null]", "{name:none}", "{shape:linear,start:0,end:1}", "{start:nan,end:1}", "{shape:steps,start:1,end:0,steps:0}",
    "{start:1}", "[" * 60 + "]" * 60, "{a:" * 60 + "1" + "}" * 60, "!!python/object/apply:os.system ['touch owned']", "&a [*a]",
    "*a", "@", "a@b:c", "{_target_:os.system,command:'touch owned'}", "{1:2}", "{null:1}", "{true:1}", "{a:1,a:2}",
    "[mixup,mixup]", "[mixup,norm,none]",
]
ODD_KEYS = [
    "", ".", "...", "optim.", ".lr", "a.b.c.d", "optim.lr.x", "optim.lr.x.y", "hydra.run.dir", "hydra", "defaults", "_target_",
    "regularizer/mixup", "regularizer@x", "optim@a:b", "model@_global_", "regularizer.mixup.alpha.start", "data.0", "data[0]",
    "logger.tags.0", "model._target_", "__class__", "regularizer.__init__", "seed.deep", "callbacks.progress", "trainer.strategy",
    "experiment", "debug",
]
# fmt: on

text = st.text(max_size=12)
number = st.one_of(st.integers(), st.floats(), st.integers(-3, 3)).map(str)


def _keys() -> list[str]:
    result = [*schema.RunConfig.model_fields, *yaml_files.list_groups(), *schema.MULTI]
    for group in (*schema.SINGLE, *schema.MULTI):
        for name in registry.list_plugins(group):
            prefix = f"{group}.{name}" if group in schema.MULTI else group
            result += [prefix, *(f"{prefix}.{field}" for field in registry.get_plugin(group, name).model_fields)]
    result += [f"{group}.{field}" for group, cls in schema.SECTIONS.items() for field in cls.model_fields]
    return sorted(set(result))


def _bounds() -> dict[str, list[str]]:
    """By the last part of a key, the numbers at and around the borders of its range, and its choices."""
    classes: list[Any] = [registry.get_plugin(g, n) for g in registry.GROUPS for n in registry.list_plugins(g)] + [
        *schema.SECTIONS.values(),
        schema.RunConfig,
    ]
    result: dict[str, list[str]] = {}
    for cls in classes:
        for name, field_schema in field_schemas(cls).items():
            for branch in field_schema.get("anyOf", [field_schema]):
                step = 1 if branch.get("type") == "integer" else 1e-6
                for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
                    if key in branch:
                        result.setdefault(name, []).extend(str(branch[key] + d) for d in (-step, 0, step))
                result.setdefault(name, []).extend(map(str, branch.get("enum", [])))
    return {name: values for name, values in result.items() if values}


KEYS, BOUNDS, OPTIONS = _keys(), _bounds(), yaml_files.list_groups()


@st.composite
def overrides(draw: st.DrawFn) -> str:
    """One override, right or wrong."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.one_of(text, st.sampled_from(JUNK), st.sampled_from(NAMES)))
    if kind in (1, 2):
        group = draw(st.sampled_from(sorted(OPTIONS)))
        option = st.sampled_from(OPTIONS[group])
        value = draw(
            st.one_of(option, option, st.lists(option, max_size=4).map(lambda o: f"[{','.join(o)}]"), st.sampled_from(JUNK))
        )
        return f"{draw(st.sampled_from(['', '', '', '+', '++', '~']))}{group}={value}"
    key = draw(st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from(ODD_KEYS), text))
    if kind == 3 and key:  # misspelt
        place = draw(st.integers(0, len(key) - 1))
        key = key[:place] + draw(st.sampled_from(["", "x", ".", key[place] * 2])) + key[place + 1 :]
    near_bounds = st.sampled_from(BOUNDS.get(key.rpartition(".")[2], ["1"]))
    value = draw(st.one_of(near_bounds, near_bounds, number, st.sampled_from(JUNK), st.sampled_from(NAMES), text))
    sign = draw(st.sampled_from(["", "", "", "", "+", "++", "~"]))
    return f"{sign}{key}" if kind == 4 else f"{sign}{key}={value}"


@st.composite
def mild(draw: st.DrawFn) -> str:
    """An override of which a good part is accepted."""
    key = draw(st.sampled_from([key for key in KEYS if key.rpartition(".")[2] in BOUNDS and key.count(".") == 1]))
    if draw(st.booleans()):
        group = draw(st.sampled_from(["model", "optim", "regularizer", "regularizer", "regularizer"]))
        return f"{'+' if group == 'regularizer' else ''}{group}={draw(st.sampled_from(OPTIONS[group]))}"
    return f"{key}={draw(st.sampled_from(BOUNDS[key.rpartition('.')[2]]))}"


lines = st.lists(overrides(), min_size=1, max_size=3)
words = st.lists(st.one_of(overrides(), text, st.sampled_from(NAMES)), max_size=3)


@st.composite
def commands(draw: st.DrawFn) -> list[str]:
    """A whole command line; most train."""
    command = draw(st.sampled_from([*["train"] * 16, "doctor", "ablate", *OTHERS]))
    if command in ("train", "doctor"):
        options = [
            "--fix",
            "--fix=x.yaml",
            "--fix=../../x",
            "--difference=0.5",
            "--difference=nan",
            "--difference",
            "--resume",
            "--",
        ]
        return [command, *draw(lines), *([draw(st.sampled_from(options))] if draw(st.integers(0, 9)) == 0 else [])]
    if command == "ablate":
        field = st.sampled_from(["study", "at_once", "launcher", "launcher.x", "study.seeds", "study.techniques", "study.design"])
        junk = st.one_of(
            number, st.sampled_from(JUNK), st.sampled_from(NAMES), st.sampled_from(["quick", "lesson", "[mixup]", "pairs"])
        )
        own = draw(st.lists(st.tuples(field, junk).map("=".join), min_size=1, max_size=2))
        return [command, *own, *draw(st.lists(overrides(), max_size=1))]
    flags = [
        "--wandb",
        "--markdown",
        "--quick",
        "--docs",
        "--all",
        "-x",
        "--",
        "-h",
        "-1",
        "test",
        "val",
        "latest",
        "best",
        "bash",
    ]
    return [command, *draw(words), *draw(st.lists(st.sampled_from(flags), max_size=1))]


OTHERS = ["evaluate", "predict", "report", "schema", "list", "claims", "dashboard", "completion", "help", "trian", "", "\0"]

leaf: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    text,
    st.sampled_from([10**400, -1, 0, 2**63, float("nan"), float("inf"), *NAMES, *JUNK]),
)
inner: st.SearchStrategy[Any] = st.one_of(leaf, st.lists(leaf, max_size=3), st.dictionaries(text, leaf, max_size=3))
anything: st.SearchStrategy[Any] = st.one_of(leaf, leaf, st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3))


@st.composite
def mutate(draw: st.DrawFn, content: Any) -> Any:
    """Plain data with one to three places changed, taken away or added."""
    for _ in range(draw(st.integers(1, 3))):
        content = _change(draw, content)
    return content


def _change(draw: st.DrawFn, node: Any) -> Any:
    if isinstance(node, dict) and node and draw(st.integers(0, 7)):
        key = draw(st.sampled_from(sorted(node, key=str)))
        return node | {key: _change(draw, node[key])}
    if isinstance(node, list) and node and draw(st.integers(0, 7)):
        place = draw(st.integers(0, len(node) - 1))
        return [*node[:place], _change(draw, node[place]), *node[place + 1 :]]
    if isinstance(node, dict) and draw(st.booleans()):
        rest = dict(list(node.items())[draw(st.integers(0, 1)) :])
        return rest | {draw(st.one_of(text, st.sampled_from(["name", "_target_", "defaults"]))): draw(anything)}
    kinds = {str: st.sampled_from([*NAMES, *JUNK]), int: st.integers(0, 10**6), float: st.floats()}
    return draw(kinds[type(node)] if type(node) in kinds and draw(st.integers(0, 2)) else anything)
