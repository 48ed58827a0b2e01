"""The chapter ``hybrids``: what it runs and what it shows."""
