"""How methods are trained, with one loop for all, and what is written of it."""
