"""The evaluation room: predict, score, compare, report."""
