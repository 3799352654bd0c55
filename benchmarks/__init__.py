"""What `make bench` runs: each figure beside a named alternative or target, in the same run."""
