"""Tools that read finished or planned runs. Training works without this package."""
