"""Networks of many small agents as stacked weights: grouped layers, encoder, actor, multi-pass Q-network, mixers."""
