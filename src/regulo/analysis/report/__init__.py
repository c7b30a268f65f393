"""Pages to share: one self-contained HTML file for a run or a study, and the same content as a W&B report."""
