"""Samples in, predictions out, and the difference from the accepted ones.

Knows the URL of one model and nothing else of the server behind it.
"""
