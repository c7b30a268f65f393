"""Observers: they watch a run and change nothing that is learned. One file each."""
