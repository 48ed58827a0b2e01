"""The chapter ``breadth``: what it runs and what it shows."""
