"""The ranks of one command: their places, collectives on tensors and ranges, and who was lost."""
