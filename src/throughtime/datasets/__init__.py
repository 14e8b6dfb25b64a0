"""Series that the package carries."""
