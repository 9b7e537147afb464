"""A miniature Hugging Face hub: a server, replicas of the paper's repositories, and tests of both."""
