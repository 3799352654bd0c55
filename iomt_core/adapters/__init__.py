"""The ward as other libraries' environments: PettingZoo, Gymnasium (vectorised), TorchRL and Stable-Baselines3.

`agents.py` defines observations, actions and rewards of an agent. An adapter only converts them to its library's types.
"""
