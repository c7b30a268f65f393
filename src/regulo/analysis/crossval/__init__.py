"""Cross-validation: every image is predicted once by a run that has not seen it."""
