"""Where many runs are started: on this machine, or on a cluster."""
