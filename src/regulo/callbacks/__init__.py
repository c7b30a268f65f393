"""Callbacks: they show a run and do not change what it learns. One file each."""
