"""Twin network layer: what the application layer asks of the simulated ward."""
