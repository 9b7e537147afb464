"""What runs a model: generation, log-probabilities, features, memory."""
