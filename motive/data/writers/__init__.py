"""Selections as other tools read them: one file a layout, found by the registry."""
