"""Faults made on purpose, and the proof that nothing is lost, doubled or wrong afterwards."""
