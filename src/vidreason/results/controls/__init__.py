"""What controls say about an arm's gain: how much of it survives, and what thinking is worth."""
