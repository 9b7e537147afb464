"""Numbers produced by the published code, and the checker that compares ours with them."""
