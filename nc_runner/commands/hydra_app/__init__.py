"""All that meets Hydra: composing settings, explaining its errors, launching runs."""
