"""The instrument: a model and batches in, a row of numbers out."""
