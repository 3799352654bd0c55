"""The Paper page: the paper's figures in our numbers, and what became of its claims."""
