"""The synthetic video world of the demo: known scenes, written in the layouts of the real data sets."""
