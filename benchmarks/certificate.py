"""Looks for scenarios in which the certificate or a number is wrong: `python -m benchmarks.certificate --scenarios 100000`.

Scenarios are drawn from the whole allowed range (`tests/wards.py`) and checked as the property test does
(`tests/certificate.py`). Violations are counted, and written as JSON with their scenarios.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a process a core; threads would only get into each other's way

import argparse
import json
import multiprocessing
import re
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tests.certificate import certificate_violations, number_violations, return_violations, training_violations
from tests.wards import whole_range

GROUP = 16  # scenarios decided as one batch
TRAINED = 32  # one group of so many has its first scenario trained on, which takes a hundred times as long
EVERY = 15.0  # seconds between two lines of progress


@dataclass(frozen=True)
class Violation:
    """The violations in one scenario; `whole_range(group, GROUP)[number]` draws it again."""

    group: int
    number: int
    found: str
    scenario: dict[str, Any]


def check(group: int, train: bool) -> list[Violation]:
    """All violations in a group of scenarios; an exception counts as a violation."""
    torch.set_num_threads(1)
    drawn, number = [], 0
    found: list[tuple[int, str]] = []
    try:
        drawn = whole_range(group, GROUP)
        found += certificate_violations(drawn, group)
        found += return_violations(drawn, group)
        for number, s in enumerate(drawn):
            found += ((number, what) for what in number_violations(s, group))
        if train:
            number = 0
            found += ((0, what) for what in training_violations(drawn[0], group))
    except Exception:
        found.append((number, traceback.format_exc(limit=-3)))
    return [Violation(group, n, what, drawn[n].model_dump(mode="json") if drawn else {}) for n, what in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=int, default=2000)
    parser.add_argument("--skip", type=int, default=0, help="scenarios of the seed that were checked before")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other scenarios")
    parser.add_argument(
        "--out", type=Path, default=Path("certificate_violations.json"), help="written if any are found"
    )
    options = parser.parse_args()
    first = options.skip // GROUP
    groups = [(options.seed << 32) + n for n in range(first, first - (-options.scenarios // GROUP))]
    start = said = time.monotonic()
    violations: list[Violation] = []
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(check, group, group % TRAINED == 0) for group in groups]
        for done, job in enumerate(as_completed(jobs), 1):
            for violation in job.result():
                violations.append(violation)
                print(f"group {violation.group}, scenario {violation.number}: {violation.found}", flush=True)
            now = time.monotonic()
            if now - said > EVERY:
                said, left = now, (now - start) * (len(jobs) / done - 1)
                print(f"{done * GROUP} scenarios, {len(violations)} violations, {left:.0f} s left", file=sys.stderr)
    took = time.monotonic() - start
    print(f"{len(groups) * GROUP} scenarios of seed {options.seed} in {took:.0f} s: {len(violations)} violations")
    kinds = Counter(re.sub(r"[-+]?\d\S*$", "…", v.found.strip().splitlines()[-1]) for v in violations)
    for kind, count in kinds.most_common():
        print(f"{count:6d}  {kind}")
    if violations:
        options.out.write_text(json.dumps([asdict(v) for v in violations], indent=1))
        print(f"written to {options.out}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
