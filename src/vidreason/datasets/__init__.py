"""The training data: one module per data set."""
