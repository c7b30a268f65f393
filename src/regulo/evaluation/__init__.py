"""Predictions of a trained model, and their quality."""
