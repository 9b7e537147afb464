"""Published data and weights: locked, fetched, unpacked."""
