"""Regulo: which regularizer, how strong, and did it help?"""

__version__ = "0.2.0"
