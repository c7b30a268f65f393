"""One file per optimizer; the schedules that they share are in `base`."""
