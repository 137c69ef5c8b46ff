"""Faults that scripts/chaos.py brings about in a sweep, and what it compares afterwards."""
