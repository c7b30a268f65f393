"""Make a project of the user's own from a checkout of Regulo, and take later versions into it.

Only the standard library and git are used, so that this runs before anything is installed.
"""
