"""What `make bench` runs: each figure beside a named alternative or target, in the same run."""

import os

# All cores, for large batches; iomt_core's own default is one thread. OpenMP reads it when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
