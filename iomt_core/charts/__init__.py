"""Charts: pure functions from results to what is drawn; they know no user interface.

They return Plotly figures, tables with the same numbers, and the plain values of the map.
"""
