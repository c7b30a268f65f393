"""What this program is called."""

PROGRAM = __name__.partition(".")[0].replace("_", "-")
"""name of the command, of the distribution and of the default project on W&B"""
