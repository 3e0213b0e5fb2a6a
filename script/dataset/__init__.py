"""Scripts that make training data from raw data."""
