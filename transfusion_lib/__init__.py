"""Transfusion, reproduced: transfer learning for medical imaging, re-run claim by claim."""

__version__ = "0.1.0"
