"""The chapter ``filters``: what it runs and what it shows."""
