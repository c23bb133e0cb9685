"""The built-in example: procedural clips with known motion, and the training of the small model that ships."""
