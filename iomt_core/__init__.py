"""IoMT Twin Lab: a digital-twin-driven Internet of Medical Things, simulated, optimised and explained."""

import os

# One thread, unless the caller chose otherwise. Most tensors here are small, and threads of a team spin while they wait for
# each other: two threads are at best 1.8 times as fast as one on an idle machine, and 5 to 15 times slower than that when
# another program keeps a core busy. OpenMP reads this once, when torch is first imported, so import iomt_core before torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
