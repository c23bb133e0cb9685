"""What every benchmark shares: rows, ceilings, sessions, plans and tables."""
