"""Survey of a dataset: shapes, captions, duplicates, unreadable files, and what a clip spec would leave out."""
