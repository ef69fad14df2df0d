"""The models room: catalogue, loading, adapters and generation."""
