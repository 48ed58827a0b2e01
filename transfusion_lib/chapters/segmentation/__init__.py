"""The chapter ``segmentation``: what it runs and what it shows."""
