"""How bytes become durable: writing files, checking them, locking, caching and recording where they come from."""
