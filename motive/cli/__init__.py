"""The command line: verbs over the functions of motive.run, and nothing else."""
