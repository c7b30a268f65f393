"""Runs the trials of claims, and reports the verdicts."""
