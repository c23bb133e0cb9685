"""Dataset formats: one file each, found by name or by what a folder holds."""
