"""Bridges into other libraries: each module imports its library alone, and is imported by its own name."""
