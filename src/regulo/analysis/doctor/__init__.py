"""Findings on a run before training, and a verdict on it afterwards."""
