"""Ranges of numbers in a configuration; a value outside is refused by name."""

from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
"""[0, 1]"""
ProperShare = Annotated[float, Field(ge=0, lt=1)]
"""[0, 1)"""
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
