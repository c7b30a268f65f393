"""Types for ranges of numbers in a configuration. A value outside its range is refused."""

from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
"""[0, 1]"""
ProperShare = Annotated[float, Field(ge=0, lt=1)]
"""[0, 1)"""
NonNegative = Annotated[float, Field(ge=0)]
"""[0, ∞)"""
Positive = Annotated[float, Field(gt=0)]
"""(0, ∞)"""

PixelLevel = Annotated[int, Field(ge=-(2**31), lt=2**32)]
"""a pixel of at most 32 bits, signed or not"""
