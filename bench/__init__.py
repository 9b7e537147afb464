"""Benchmarks: this project's schedule against a naive one, and what the hardware would allow."""
