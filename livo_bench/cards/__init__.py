"""What is declared, and where it lies: cards, prompts, weights. Imports no torch and no pandas."""
