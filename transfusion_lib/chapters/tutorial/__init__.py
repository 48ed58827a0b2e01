"""The chapter ``tutorial``: what it runs and what it shows."""
