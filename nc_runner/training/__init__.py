"""The lab: optimizers, losses, trainer and checkpoints; one run from its settings to its record."""
