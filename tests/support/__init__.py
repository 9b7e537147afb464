"""Instruments that several tests use."""
