"""The Dec-POMDP of section IV-B over a batch of worlds."""
