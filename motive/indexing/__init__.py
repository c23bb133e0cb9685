"""Running the stages over a dataset: plan, worker, record."""
