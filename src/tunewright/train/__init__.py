"""The training room: one readable loop and what it needs."""
