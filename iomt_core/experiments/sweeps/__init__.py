"""Sweeps: policies over one or two parameters of a scenario."""
