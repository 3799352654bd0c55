"""Import of a million rows, by `iomt import`'s own steps: `python -m benchmarks.import_tables`.

A trace of 1000 devices over a week, in two dialects; the 200 busiest are taken. Beside it: pandas' reader alone on the same
file, with its types left to it.
"""

from __future__ import annotations

import io
import time

import numpy as np
import pandas as pd

from iomt_core.scenario.importing import Imported, Options, open_tables, run

ROWS, DEVICES, TAKEN = 1_000_000, 1000, 200
TARGET = 10.0  # seconds


def trace() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    seconds = np.sort(generator.integers(0, 7 * 86_400, ROWS))
    return pd.DataFrame(
        {
            "timestamp": pd.to_datetime("2024-01-01") + pd.to_timedelta(seconds, unit="s"),
            "device_id": [f"dev-{n}" for n in generator.integers(0, DEVICES, ROWS)],
            "size_kb": generator.lognormal(3, 1, ROWS).round(3),
            "cycles": generator.integers(100_000, 1_000_000, ROWS),
            "type": generator.choice(["ECG", "EEG"], ROWS),
        }
    )


def imported(content: bytes) -> tuple[Imported, list[float]]:
    """The import, and when it said how far it was, in seconds."""
    options, said = Options(busiest_users=TAKEN), []
    start = time.perf_counter()
    found = run(
        open_tables([("trace.csv", content)], options),
        options,
        lambda done, what: said.append(time.perf_counter() - start),
    )
    return found, said


def main() -> None:
    frame = trace()
    for words, settings in (("point", {}), ("comma", {"decimal": ",", "sep": ";"})):
        content = frame.to_csv(index=False, **settings).encode()
        start = time.perf_counter()
        pd.read_csv(io.BytesIO(content), **settings)
        alone = time.perf_counter() - start
        start, cpu = time.perf_counter(), time.process_time()
        found, said = imported(content)
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
        longest = max(b - a for a, b in zip([0.0, *said], said, strict=False))
        print(
            f"{ROWS:,} rows, decimal {words}, {len(content) / 1e6:.0f} MB: {took:.1f} s (CPU {cpu:.1f} s; target {TARGET:g} s); "
            f"{len(found.scenario.workload or ()):,} tasks taken; longest pause between two signs of progress {longest:.1f} s; "
            f"pandas.read_csv alone, nothing checked: {alone:.1f} s"
        )


if __name__ == "__main__":
    main()
