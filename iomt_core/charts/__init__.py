"""Charts: pure functions from results to what is drawn; they know no user interface.

They return plain values for the dashboard's drawings, a Vega-Lite specification, an HTML table or a Plotly figure.
"""
