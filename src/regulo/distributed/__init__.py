"""Many processes: which one this is, how they start and restart, how they stop, and how a hang or a dead process is noticed.

torch's elastic agent, the engine under torchrun, starts and watches the processes of one machine. A run of one process imports
and starts nothing of it.
"""
