"""Video language models."""
