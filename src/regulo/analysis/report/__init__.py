"""Pages that people quote: one self-contained HTML file for a run or a study, and the same content for W&B."""
