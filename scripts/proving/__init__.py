"""Proofs of what a release claims: real processes, judged from outside.

Nothing here shares code with what it judges. The store is read with Python's own sqlite3, what reached the upstream
from the simulator's request log, the exchange's list with a reader of its own.
"""
