"""The papers' claims as pure functions: rewards, advantages, losses."""
