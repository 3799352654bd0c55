"""Long work on disk: run directories, locks, worker processes and the queue."""
