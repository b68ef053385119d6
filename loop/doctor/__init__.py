"""What could keep a deploy from working: looked at line by line, each with its cure.

A look leaves no trace, not even a folder. Only `--fix` changes something, and only what belongs to
a server or a command of this app that is gone.
"""
