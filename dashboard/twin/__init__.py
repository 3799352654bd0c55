"""The Twin page."""
