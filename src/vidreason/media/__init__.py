"""Videos: what a file holds, its frames, the rules that choose them, resizing and storage."""
