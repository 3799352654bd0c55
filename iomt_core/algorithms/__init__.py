"""The paper's algorithms: a short file for each, with what it changes, and the agents, losses and learner that they share."""
