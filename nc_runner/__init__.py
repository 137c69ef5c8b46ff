"""nc-runner: train classifiers, measure their Neural Collapse, split the MSE loss, draw the figures."""

__version__ = "0.1.0"
