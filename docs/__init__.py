"""Pictures for the documentation, and the script that takes them."""
