"""Wards whose steps are coupled: what learning is worth there."""
