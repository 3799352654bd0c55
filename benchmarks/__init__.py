"""What `make bench` runs, each figure next to an alternative or target in the same run, and a wide check of the certificate."""

import iomt_core  # noqa: F401  # before torch: it sets how torch's threads wait
