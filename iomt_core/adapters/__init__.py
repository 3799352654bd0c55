"""The ward as other libraries' environments: PettingZoo, Gymnasium (vectorised), TorchRL and Stable-Baselines3.

`agents.py` says once what an agent observes, does and earns. An adapter only translates that into its library's types.
"""
