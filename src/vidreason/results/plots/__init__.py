"""Figures of a run that have modules of their own."""
