"""Answers: what matters most, how much is needed, and what the trade-off is; each from the same episodes for all wards."""
