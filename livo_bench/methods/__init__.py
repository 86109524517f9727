"""What a method does and how it learns. The only room with a loss or an optimiser."""
