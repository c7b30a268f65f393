"""Many runs that are planned together: how each is made, and where they are started, on this machine or on a cluster."""
