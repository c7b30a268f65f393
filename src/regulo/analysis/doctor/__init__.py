"""`regulo doctor`: findings before training, a verdict after it."""
