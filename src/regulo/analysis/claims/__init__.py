"""One file per claim of the lesson: what it says, how it is tested, and what would refute it."""
