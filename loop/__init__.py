"""What looks inside data, talks to the server, or keeps a promise about it.

Arrows run one way: bin → loop → smoke. Nothing here imports bin.
"""
