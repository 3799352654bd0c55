"""Physical network layer: channel, computing, allocation and utility as pure functions of batched tensors."""
