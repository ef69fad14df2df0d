"""The public Python interface, re-exported by `tunewright.fine_tuning`."""
