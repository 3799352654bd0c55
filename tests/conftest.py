"""Two workers share two cores: one thread each, for threads that wait for a core spin and starve the other worker."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import torch

torch.set_num_threads(1)
