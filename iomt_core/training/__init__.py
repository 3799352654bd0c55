"""Training runs: Algorithm 1, the replay, checkpoints, and runs on disk."""
