"""Exports the final model of a run: one file that takes images of any size and needs no Regulo."""
