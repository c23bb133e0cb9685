"""Shards named one by one or by a pattern, here or at addresses; those at addresses are fetched to a cache folder."""
