"""Service mapping of users: agents' twins, and models of a user's tasks, each trained from DW_i in a process of its own."""
