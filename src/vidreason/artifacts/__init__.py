"""How bytes become durable: files, sidecars, caches, journals. Knows no science."""
