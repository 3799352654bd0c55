"""What `make bench` runs: each figure beside a named alternative or target, in the same run."""

import iomt_core  # noqa: F401  # before torch: it sets how torch's threads wait
