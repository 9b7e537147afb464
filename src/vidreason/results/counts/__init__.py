"""Tables of a run that count something beside the scores: tokens, seconds, words."""
