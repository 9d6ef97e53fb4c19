"""What is said where matplotlib is missing."""

from .._extras import needs_extra

with needs_extra("plot"):
    import matplotlib as matplotlib
