"""What reads finished or planned runs. Training works without this package."""
