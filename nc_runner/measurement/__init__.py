"""The measurement: a network and images in, a row of numbers out. Knows no settings and no run."""
