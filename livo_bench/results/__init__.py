"""Scores become numbers, and numbers are held against numbers. No images, no torch."""
