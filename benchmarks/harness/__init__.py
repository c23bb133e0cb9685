"""Shared by every benchmark: rows, ceilings, sessions, plans and tables."""
