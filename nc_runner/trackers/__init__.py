"""Trackers: take the rows of a run to other tools. See ``nc_runner.training.recorder.Tracker``."""
