"""Regulo: which regularizer, how strong, and did it help?"""

__version__ = "0.1.0"
