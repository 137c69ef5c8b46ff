"""The archive: run folders, their records and tables, and the lists of sweeps. Imports no torch."""
