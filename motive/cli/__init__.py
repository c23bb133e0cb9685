"""The command line: verbs over the functions of motive.indexing, and nothing else."""
