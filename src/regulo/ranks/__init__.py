"""The processes (ranks) of a run watch one another, so that none waits for one that has failed, was killed, or hangs.

Every process keeps a line (a TCP connection, JSON, nothing that could be run) to the first one. It beats there every second, and
says how far its main thread has got and where that is: so a dead process (the line breaks), a stopped one (no beats) and a
hanging one (beats, but nobody gets any further) are told apart. torch alone notices some of these after 10 to 30 minutes.
"""
