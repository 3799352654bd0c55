"""Service mapping: twins of the environment and of the agents."""
