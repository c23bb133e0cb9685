"""Worker processes: the plan of tasks, the pool, its supervision, and what it reports."""
