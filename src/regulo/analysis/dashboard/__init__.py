"""`regulo dashboard`: all runs and studies on one local page, or in the terminal."""
