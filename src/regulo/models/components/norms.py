"""Kinds of normalization layers."""

from torch import nn

BATCH_NORM = nn.modules.batchnorm._BatchNorm
"""every BatchNorm: of tokens, of maps, and synchronized over devices"""
NORMS = (BATCH_NORM, nn.LayerNorm, nn.GroupNorm)
"""every normalization layer"""
