"""Supervised fine-tuning, GRPO, and the loop, states and processes that they share."""
