"""Rows out to other tools."""
