"""The version, for setup.cfg and for what files state."""

__version__ = "0.1.0"
