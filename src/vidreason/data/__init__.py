"""Data sets and benchmarks, a module each, and how their annotation files are read."""
