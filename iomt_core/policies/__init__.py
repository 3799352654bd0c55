"""Policies behind one interface: heuristics, price response, and the optimum with its certified bound."""
