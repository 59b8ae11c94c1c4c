"""maskwatch: a real-time face-mask monitor."""

__version__ = "0.1.0"
