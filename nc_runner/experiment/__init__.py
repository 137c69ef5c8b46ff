"""The lab: one run, from its settings to its rows. Importing this package alone does not import torch."""
