"""The landing page's figure and sentences."""
