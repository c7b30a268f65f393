"""Code that several models share."""
