"""Checks that single requests, one run against its goldens, never show.

Each asks the same texts in another way, and holds the answers against those that each text gets
alone. A bug that was there when the goldens were accepted is in them, and passes; not so here.
"""
