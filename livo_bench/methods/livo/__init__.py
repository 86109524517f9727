"""LiVO: its loss, its preference pairs, its training and its steering."""
