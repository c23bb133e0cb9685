"""The scores file: its format, its reader, the ranking, and the stores it came from."""
