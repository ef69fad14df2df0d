"""The metrics room: predictions and references in, numbers with intervals out."""
