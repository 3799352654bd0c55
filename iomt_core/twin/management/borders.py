"""What crosses which border in a step, in bytes. Every message is really encoded; its size is the length of the result.

Numbers are little-endian without a header: float32, which the networks compute with, in ô, ŝ and shares; float64 in sums, as the
warehouse keeps them. A task in a decision has one byte for its number, one for its device and two float32 shares. The simulation
has no task data; they count as the D bits of the model. Encryption and transport would add the same to all messages, and are not
counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from iomt_core.environment.observation import limited_state, mixer_observation
from iomt_core.record import Record
from iomt_core.twin.access.privacy import SUMS, task_sums
from iomt_core.twin.moves import SKIPPED

NUMBER, SUM = np.dtype("<f4"), np.dtype("<f8")
TASK_DECISION = np.dtype([("task", "u1"), ("device", "u1"), ("cpu", NUMBER), ("bandwidth", NUMBER)])
SKIPPED_DEVICE = 255
BITS = 8  # in a byte
OBSERVATION, STATE, DECISION, TASK_DATA, AGGREGATE, KEPT = (
    "ô of an agent, Q for the mixer", "resources of the servers", "decision for a user", "data of offloaded tasks",
    "sums of a user", "data of local tasks",
)  # fmt: skip
BORDERS = {
    OBSERVATION: "device → edge",
    STATE: "servers → management",
    DECISION: "management → device",
    TASK_DATA: "device → server",
    AGGREGATE: "edge → aggregates",
    KEPT: "none: stays on the device",
}


@dataclass(frozen=True)
class Message:
    """Something that crosses a border. user: whose it is; None for the whole ward. content: as encoded; None for task data."""

    what: str
    user: int | None
    size: float  # bytes
    content: bytes | None

    @property
    def border(self) -> str:
        """Sender and receiver."""
        return BORDERS[self.what]


def encode_observation(observation: Tensor, value: float | None) -> bytes:
    """ô_i (6,), and the agent's value Q_i where a mixer needs it."""
    numbers = observation.tolist() + ([] if value is None else [value])
    return np.array(numbers, NUMBER).tobytes()


def decode_observation(content: bytes) -> NDArray[np.float32]:
    """The numbers of `encode_observation`."""
    return np.frombuffer(content, NUMBER)


def encode_decision(table: pd.DataFrame) -> bytes:
    """Devices and requested shares of one user's tasks; `table` has rows of `Record.table`."""
    encoded = np.zeros(len(table), TASK_DECISION)
    encoded["task"] = table["task"]
    encoded["device"] = table["choice"].mask(table["skipped"], SKIPPED_DEVICE)
    encoded["cpu"] = table["cpu_share_requested"]
    encoded["bandwidth"] = table["bandwidth_share_requested"].fillna(0.0)
    return encoded.tobytes()


def decode_decision(content: bytes) -> pd.DataFrame:
    """The tasks of `encode_decision`: task, device (`regret.SKIPPED` for a skipped task), cpu, bandwidth."""
    decoded = np.frombuffer(content, TASK_DECISION)
    table = pd.DataFrame({name: decoded[name] for name in decoded.dtype.names or ()})
    device = table["device"].astype(int)
    return table.assign(device=device.mask(device == SKIPPED_DEVICE, SKIPPED))


def messages(record: Record, values: Tensor | None) -> tuple[Message, ...]:
    """Everything that crosses a border in a step, and the task data that stay.

    record: of this one step. values: Q_i of all agents, (U,); None where no mixer needs them.
    """
    s, snapshot, table = record.scenario, record.snapshot, record.table()
    observations = mixer_observation(snapshot, s)[0]
    resources = limited_state(snapshot, s)[0, : 2 * s.servers].numpy().astype(NUMBER).tobytes()
    sums = task_sums(table).set_index("user")
    found = [Message(STATE, None, len(resources), resources)]
    for i, user in enumerate(s.user_numbers):
        mine = table[table["user"] == user]
        contents = {
            OBSERVATION: encode_observation(observations[i], None if values is None else float(values[i])),
            DECISION: encode_decision(mine),
        }
        if user in sums.index:
            contents[AGGREGATE] = sums.loc[user, list(SUMS)].to_numpy(SUM).tobytes()
        found += [Message(what, user, len(content), content) for what, content in contents.items()]
        sent = (mine["choice"] != 0) & ~mine["skipped"]
        for what, rows in ((TASK_DATA, sent), (KEPT, ~sent)):
            if rows.any():
                found.append(Message(what, user, float(mine["data_bits"][rows].sum()) / BITS, None))
    return tuple(found)


def crossings(found: tuple[Message, ...]) -> pd.DataFrame:
    """One row for each border: `border`, `what` crosses it, `messages`, `bytes`, and how the size was `counted`."""
    rows = []
    for what, border in BORDERS.items():
        mine = [message for message in found if message.what == what]
        counted = "encoded" if all(message.content is not None for message in mine) else "D of the model"
        rows.append((border, what, len(mine), sum(message.size for message in mine), counted))
    return pd.DataFrame(rows, columns=["border", "what", "messages", "bytes", "counted"])


def single_step(record: Record, row: int) -> Record:
    """One step of a record; `row` from 0."""
    return record.select(torch.tensor([row]))
