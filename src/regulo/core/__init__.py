"""Shared code that every other package may import. It imports no other package."""
