"""Figures: results in, out what there is to draw; pure functions that know no user interface.

Out come plain values for the dashboard's drawings, a Vega-Lite specification, an HTML table or a Plotly figure.
"""
