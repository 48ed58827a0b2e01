"""What the papers say, and the study that puts it to the test."""
