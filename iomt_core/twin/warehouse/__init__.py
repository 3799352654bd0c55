"""The data warehouse DW_i of each user: an append-only, encrypted log in three tiers by age."""
