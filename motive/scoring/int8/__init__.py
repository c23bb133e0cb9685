"""Scoring by int8 vectors: the cache, top-k, and rescoring in float32."""
