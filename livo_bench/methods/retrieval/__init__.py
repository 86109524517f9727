"""Which value a prompt is about, and how retrievers compare."""
