"""Latents that a trainer computed before: one file for each tool, and the checks that they pass before they are used."""
