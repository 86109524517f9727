"""LiVO: which value a prompt asks for, and how the model is told of it."""
