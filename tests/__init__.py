"""Tests: unit/ (functions), golden/ (numbers of the published code), workflow/ (whole graphs), gpu/ (need a GPU)."""
