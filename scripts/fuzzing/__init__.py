"""Damaged and hostile inputs for everything that nc-runner reads: scripts/fuzz.py, tests/test_fuzz.py."""
