"""The versions, oldest first by their names."""
