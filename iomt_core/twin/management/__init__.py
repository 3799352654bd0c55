"""Twin management (paper, III-B): the registry of trained models, and the coordination of a step as a trace."""
