"""The synthetic world of the demo: scenes, questions, videos in published layouts, and a base model trained on it."""
