"""IoMT Twin Lab: a digital-twin-driven Internet of Medical Things, simulated, optimised and explained."""

import os

# Threads of a team that wait for each other spin by default. Where another program keeps a core busy, small tensors then
# take ten times as long with two threads as with one; threads that sleep while they wait lose nothing. OpenMP reads this
# once, when torch is first imported, so iomt_core has to be imported before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
