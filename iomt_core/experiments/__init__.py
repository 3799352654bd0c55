"""Evaluation, sweeps, and the paper's figures and tables."""
