"""The chapter ``performance``: what it runs and what it shows."""
