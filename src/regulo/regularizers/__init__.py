"""One file per technique, named as in its paper."""
