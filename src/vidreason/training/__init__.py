"""SFT and GRPO: one loop, saved states, several processes."""
