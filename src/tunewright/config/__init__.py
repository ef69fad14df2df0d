"""The config room: recipes, checked all at once."""
