"""Training passes through torch.compile: the same keys, the same mathematics, an eager evaluation, exact resuming."""

import copy
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from regulo.core import compilation
from regulo.core.errors import InputError
from regulo.core.types import soft_cross_entropy, soft_targets
from regulo.training import autotune, speed_memory
from regulo.training.autotune import AutotuneResult, Candidate
from tests.conftest import GRAY, build_model, images_of
from tests.interruptions import SHORT, Interruption, differences, train

EAGER = Candidate("32-true", "contiguous", 0.1)
COMPILED = Candidate("32-true", "contiguous", 0.08, compile_seconds=40.0)
TARGETS = soft_targets(torch.arange(4), 10)


@pytest.fixture(autouse=True)
def _no_compiled_code() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> "torch._dynamo.testing.CompileCounter":
    """Counts what is compiled, and makes no code: that takes half a minute."""
    from torch._dynamo.testing import CompileCounter

    counter, compile_module = CompileCounter(), nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_module(module, backend=counter))
    return counter


def choose(result: AutotuneResult, steps: int) -> AutotuneResult:
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(20)))
    return autotune.choose_compilation(result, model, torch.zeros(1), torch.zeros(1), steps)


@pytest.mark.parametrize(
    ("steps", "choice", "note"),
    [
        (1900, "off", "not compiled: it would save 38 s, and take 40 s"),
        (2100, "on", "compiled: saves about 42 s of 4 min"),
        (360_000, "on", "compiled: saves about 2.0 h of 10.0 h"),
    ],
)
def test_it_is_compiled_if_that_saves_more_than_it_takes(steps: int, choice: str, note: str) -> None:
    result = choose(AutotuneResult("32-true", "contiguous", (EAGER, COMPILED)), steps)
    assert (result.compile, result.compile_note) == (choice, note)


def test_slower_code_is_never_chosen() -> None:
    slower = Candidate("32-true", "contiguous", 0.11, compile_seconds=1.0)
    result = choose(AutotuneResult("32-true", "contiguous", (EAGER, slower)), 10**7)
    assert (result.compile, result.compile_note) == ("off", "not compiled: it is not faster")


def test_a_trial_takes_a_small_share_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    trials: list[Candidate] = []
    monkeypatch.setattr(autotune, "time_compiled", lambda *args: trials.append(args[-1]) or COMPILED)
    result = AutotuneResult("32-true", "contiguous", (EAGER,))
    assert choose(result, 5999).compile_note == "not compiled: the steps of this run take about 10 min"
    assert trials == []
    assert choose(result, 6000) == AutotuneResult(
        "32-true", "contiguous", (EAGER, COMPILED), "on", "compiled: saves about 2 min of 10 min"
    )
    assert trials == [EAGER]


def test_a_compiler_that_fails_leaves_the_run_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Candidate:
        raise RuntimeError("no C++ compiler\nTraceback …")

    monkeypatch.setattr(autotune, "time_compiled", fail)
    result = choose(AutotuneResult("32-true", "contiguous", (EAGER,)), 10**6)
    assert (result.compile, result.compile_note) == ("off", "not compiled: no C++ compiler")


def test_the_trial_changes_neither_the_model_nor_the_generators(counter: "torch._dynamo.testing.CompileCounter") -> None:
    model = build_model("resnet_small", GRAY, width=4)
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    trial = autotune.time_compiled(model, images_of(GRAY), TARGETS, EAGER)
    assert counter.frame_count == 1
    assert trial.compile_seconds is not None
    assert (trial.precision, trial.memory_format) == ("32-true", "contiguous")
    assert torch.random.get_rng_state().equal(state)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


def test_keys_stay_and_evaluation_is_eager(counter: "torch._dynamo.testing.CompileCounter") -> None:
    model = build_model("vit_tiny", GRAY, width=16, depth=1)
    keys = list(model.state_dict())
    compilation.compile_in_place(model)
    assert list(model.state_dict()) == keys
    with compilation.run_eagerly():
        model.eval()(images_of(GRAY))
    assert counter.frame_count == 0
    model.train()(images_of(GRAY))
    assert counter.frame_count == 1
    copy.deepcopy(model)(torch.cat([images_of(GRAY)] * 2))
    assert counter.frame_count == 1, "a copy is not compiled"


def test_a_run_compiles_once_and_evaluates_eagerly(
    tmp_path: Path, counter: "torch._dynamo.testing.CompileCounter", capsys: pytest.CaptureFixture[str]
) -> None:
    from regulo.__main__ import main

    words = ["debug=fast", "trainer=cpu", "model.width=4", "trainer.compile=on", "logger.wandb=disabled"]
    assert main(["train", *words, "regularizer=[dropout,ema,mixup,r_drop]", f"run_dir={tmp_path / 'run'}"]) == 0
    assert counter.frame_count == 2, "the second pass of R-Drop keeps BatchNorm's statistics: code of its own"
    assert "running in 32-true, contiguous, compiled" in capsys.readouterr().out
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "compile: 'on'" in config


def test_auto_is_filled_in_and_measured_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from regulo.__main__ import main

    words = ["debug=fast", "trainer=cpu", "model.width=4", "trainer.precision=auto", "trainer.compile=auto"]
    for name, measured in (("first", "measured:"), ("second", "measured on 2")):
        assert main(["train", *words, "logger.wandb=disabled", f"run_dir={tmp_path / name}"]) == 0
        output = capsys.readouterr().out
        assert measured in output
        assert "not compiled: the steps of this run take about 0 s" in output
        assert "compile: 'off'" in (tmp_path / name / "config.yaml").read_text()


def test_what_is_remembered_comes_back() -> None:
    result = AutotuneResult("32-true", "contiguous", (EAGER, COMPILED), "on", "compiled: …")
    assert speed_memory.recall("a name") is None
    speed_memory.remember("a name", result)
    recalled = speed_memory.recall("a name")
    assert recalled
    assert recalled.evidence == result.evidence
    assert (recalled.compile, recalled.compile_note) == ("off", ""), "that depends on the length of the run"
    assert len(recalled.measured_on) == 10


def test_a_model_that_would_be_compiled_in_every_step_is_not() -> None:
    from regulo.core.schedule import Ramp
    from regulo.models.components.sites import RateSite

    owner = nn.Dropout()
    owner.site = RateSite("attention", owner, "p")
    result = AutotuneResult("32-true", "contiguous", (EAGER, COMPILED))
    for rate, choice in ((0.1, "on"), (Ramp[float](start=0.0, end=0.1), "off")):
        owner.site.set_rate(rate)
        assert autotune.choose_compilation(result, owner, torch.zeros(1), torch.zeros(1), 10**6).compile == choice


@pytest.mark.parametrize("content", ["", "[1]", '{"a name": {"precision": 3}}', '{"a name": "fast"}'])
def test_a_spoiled_memory_is_no_memory(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGULO_CACHE", str(tmp_path))
    (tmp_path / "speed.json").write_text(content)
    assert speed_memory.recall("a name") is None
    speed_memory.remember("a name", AutotuneResult("32-true", "contiguous", (EAGER,)))
    assert speed_memory.recall("a name")


def test_another_machine_or_batch_or_model_is_another_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.config import compose

    trainer, model, images = compose.load_config([]).trainer, build_model("resnet_small", GRAY, width=4), images_of(GRAY)
    names = [speed_memory.describe_measurement(model, images, trainer)]
    names.append(speed_memory.describe_measurement(model, images[:2], trainer))
    names.append(speed_memory.describe_measurement(build_model("resnet_small", GRAY, width=8), images, trainer))
    names.append(speed_memory.describe_measurement(model, images, trainer.model_copy(update={"precision": "32-true"})))
    monkeypatch.setattr(speed_memory, "describe_hardware", lambda: "another machine")
    names.append(speed_memory.describe_measurement(model, images, trainer))
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"strategy": "fsdp"}, "it does not work on sharded weights yet"),
        ({"gradient_checkpointing": True}, "blocks that are computed again cannot be compiled"),
        ({"detect_anomaly": True}, "in compiled code no operation can be named"),
        ({}, "torch finds no compiler for this device"),
    ],
)
def test_what_cannot_be_compiled_is_refused_and_auto_is_off(
    setting: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regulo.config import compose

    if not setting:
        monkeypatch.setenv("CXX", "/nowhere")
    trainer = compose.load_config(["trainer=cpu"]).trainer.model_copy(update={**setting, "compile": "on"})
    with pytest.raises(InputError, match=rf"trainer\.compile: {why}"):
        trainer.check_machine()
    assert trainer.why_not_compiled().startswith(why)


@pytest.mark.long
@pytest.mark.parametrize("name", ["resnet_small", "vit_tiny"])
def test_gradients_are_those_of_the_eager_model(name: str) -> None:
    model = build_model(name, GRAY, width=16).double().train()
    images = images_of(GRAY).double()
    compiled = copy.deepcopy(model)
    compilation.compile_in_place(compiled)
    for network in (model, compiled):
        soft_cross_entropy(network(images), TARGETS.double()).mean().backward()
    for (key, p), q in zip(model.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-9, atol=1e-12, msg=lambda text, key=key: f"{key}: {text}")
    for (key, p), q in zip(model.named_buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(q, p, rtol=1e-9, atol=1e-12, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("model", "ranks"),
    [(["model.width=4"], 1), (["model=vit_tiny", "model.width=16", "model.depth=2"], 1), (["model.width=4"], 2)],
)
def test_a_compiled_run_that_was_killed_goes_on_bit_for_bit(model: list[str], ranks: int, tmp_path: Path) -> None:
    techniques = "augment,cutmix,dropout,ema,label_smoothing,mixup,sam,stochastic_depth,weight_decay"
    words = [*SHORT, *model, f"regularizer=[{techniques}]", "data.num_workers=0", "trainer.compile=on"]
    if ranks > 1:
        words += ["trainer=ddp_cpu", f"trainer.devices={ranks}", "trainer.limit_batches=5", "trainer.log_every_n_steps=2"]
        words += ["trainer.max_epochs=3", "trainer.save_every_n_steps=3"]
    unbroken, killed, log = tmp_path / "unbroken", tmp_path / "killed", tmp_path / "log"
    assert train([*words, f"run_dir={unbroken}"], log=log, ranks=ranks) == 0, log.read_text()[-2000:]
    assert train([*words, f"run_dir={killed}"], Interruption(signal.SIGKILL, step=8), log, ranks) != 0
    assert train(["--resume", str(killed)], log=log, ranks=ranks) == 0, log.read_text()[-2000:]
    assert differences(unbroken, killed) == []
