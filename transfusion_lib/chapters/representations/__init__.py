"""The chapter ``representations``: what it runs and what it shows."""
