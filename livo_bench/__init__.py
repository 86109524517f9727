"""livo-bench: compare text-to-image value-alignment methods on the same noise."""
