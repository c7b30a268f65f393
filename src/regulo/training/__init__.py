"""What trains a run."""
