"""Where a run is logged besides metrics.csv: one file per backend, with one class `Backend` and its logger."""
