"""What the server from which jobs are forked imports first: it is killed when its study ends, and each job when the server ends.

A job has a thread that waits for the end of the study, too, but threads do not run in a process that hangs in a fork or in code
that does not let go of Python's lock. And while such a job lives, the server does.
"""

import os

from regulo.core.processes import die_with_parent

STUDY_PID = "REGULO_STUDY_PID"
"""the environment variable with the process id of the study"""


def _die_with_study() -> None:
    """If this process is the server: let the system kill it with the study, and its jobs with it."""
    server, study = os.getpid(), os.getppid()
    if os.environ.get(STUDY_PID) == str(study):
        die_with_parent(study)
        os.register_at_fork(after_in_child=lambda: die_with_parent(server) if os.getppid() == server else None)


_die_with_study()
