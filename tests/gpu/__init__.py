"""What only a CUDA device can show; skipped without one."""
