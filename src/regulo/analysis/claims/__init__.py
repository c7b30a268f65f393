"""One file per claim of the lesson: what it says, how it is tried, and what would refute it."""
