"""The name that users' documents import; everything is in `tunewright`."""
