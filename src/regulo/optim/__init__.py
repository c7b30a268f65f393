"""One file per optimizer; `base` has the learning-rate schedules that they share."""
