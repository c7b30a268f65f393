"""Ramps: strengths that change during a run."""

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

import torch
from pydantic import Discriminator, Field, Tag, model_validator
from torch import Tensor, nn

from regulo.core.ranges import Share
from regulo.core.registry import StrictConfig

T = TypeVar("T", bound=float)


class Ramp(StrictConfig, Generic[T]):
    """A strength that goes from `start` to `end` as the run goes from `begin` to `until`, both shares of its steps."""

    start: T
    """strength up to `begin`"""
    end: T
    """strength from `until` on"""
    shape: Literal["linear", "cosine", "steps"] = "linear"
    """the curve between: a line, half a cosine, or equal steps"""
    begin: Share = 0.0
    """share of the run at which the change begins"""
    until: Share = 1.0
    """share of the run at which it ends"""
    steps: Annotated[int, Field(ge=1)] = 1
    """number of steps of the shape `steps`; 1 is one jump at `until`"""

    @model_validator(mode="after")
    def _forwards(self) -> "Ramp[T]":
        if self.begin > self.until:
            raise ValueError(f"begin {self.begin} lies behind until {self.until}")
        return self

    def __reduce__(self) -> Any:  # pickle does not find a parametrized generic class by name
        return functools.partial(Ramp.model_construct, **dict(self)), ()

    def value_at(self, progress: float) -> float:
        """The strength at a progress in [0, 1], the share of the steps of the run that are done."""
        if progress >= self.until:
            return float(self.end)
        u = max(progress - self.begin, 0.0) / (self.until - self.begin) if self.until > self.begin else 0.0
        if self.shape == "cosine":
            u = (1 - math.cos(math.pi * u)) / 2
        elif self.shape == "steps":
            u = math.floor(u * self.steps) / self.steps
        return self.start + (self.end - self.start) * u

    def scale(self, factor: float, highest: float) -> "Ramp[T]":
        """The same ramp with `start` and `end` multiplied by `factor`, and at most `highest`."""
        update = {k: min(getattr(self, k) * factor, highest) for k in ("start", "end")}
        return self.model_copy(update=update)


NUMBER, RAMP = "number", "ramp"
"""tags of the union in a rampable field, which pydantic puts into the location of an error"""


def _branch(value: Any) -> str:
    """The tag of a value of a rampable field, so that it is checked against one type only."""
    return RAMP if isinstance(value, Mapping | Ramp) else NUMBER


class _AnyOf:
    """Writes a tagged union in JSON Schema as a plain union, `anyOf`."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        json_schema = handler(schema)
        return {"anyOf": json_schema.pop("oneOf"), **json_schema}


if TYPE_CHECKING:
    Rampable = Annotated[T, "or a ramp"]  # for type checkers it is the number, which a hook gets
else:

    class Rampable:
        """`Rampable[T]`: a number of type T, or a ramp between two of them."""

        def __class_getitem__(cls, kind: Any) -> Any:
            union = Annotated[kind, Tag(NUMBER)] | Annotated[Ramp[kind], Tag(RAMP)]
            return Annotated[union, Discriminator(_branch), _AnyOf()]


def resolve(strength: Any, progress: float) -> Any:
    """The value of a strength at a progress in [0, 1]: of the ramp, or the constant itself."""
    return strength.value_at(progress) if isinstance(strength, Ramp) else strength


def peak(strength: Any) -> float:
    """The highest value of a strength, which may be a number, a ramp, or None (0)."""
    return float(max(strength.start, strength.end) if isinstance(strength, Ramp) else strength or 0)


class RampBuffer(nn.Module):
    """A strength inside a model, as a scalar buffer: an update neither waits for the device nor recompiles a compiled model."""

    value: Tensor  # ()

    def __init__(self, strength: Rampable[float]) -> None:
        super().__init__()
        self.ramp = strength if isinstance(strength, Ramp) else None
        self.register_buffer("value", torch.tensor(float(resolve(strength, 0.0))), persistent=False)

    def update(self, progress: float) -> None:
        """Set the buffer to the strength at this progress in [0, 1]."""
        if self.ramp:
            self.value.fill_(self.ramp.value_at(progress))


def inverted_dropout(x: Tensor, rate: Tensor | None, shape: tuple[int, ...] | None = None) -> Tensor:
    """Inverted dropout of `x` at a rate () on its device, with one random number per element of `shape`; None: the identity."""
    if rate is None:
        return x
    keep = 1 - rate
    return x * ((torch.rand(shape or x.shape, device=x.device) < keep) / keep).to(x.dtype)
