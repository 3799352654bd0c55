"""Networks of many small agents with stacked weights: grouped layers, Encoder, Actor, multi-pass Q-network, critic, mixers."""
