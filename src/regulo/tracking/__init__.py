"""What is written while a run goes on: run folder, logs, checkpoints."""
