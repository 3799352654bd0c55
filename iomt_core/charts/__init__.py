"""Figures: a scenario or results in, a Plotly figure out; pure functions that know no user interface."""
