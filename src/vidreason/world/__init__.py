"""The demo's synthetic world: videos, questions, tokenizer and a base model."""
