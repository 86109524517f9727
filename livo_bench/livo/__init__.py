"""LiVO: value encoder, losses, preference data, training and the value retriever."""
