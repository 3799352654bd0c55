"""Service mapping: twins of the environment and of the agents, and generative models of users' tasks."""
