"""The settings: typed, checked once, frozen after. Imports no torch."""
