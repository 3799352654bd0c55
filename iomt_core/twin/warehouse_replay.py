"""The replay buffer of a training run as a view of the data warehouse: B and B_i of Algorithm 1 (paper, III-B).

Adding is one commit of the played episodes. Then the view reads what is new in DW_i of every user, with the permissions of agent
i, and keeps the decoded columns in memory, from which minibatches are drawn. It computes ô and ŝ as the management module. The
audit log has a record of each of these reads, one for a batch of episodes.

A checkpoint names the revision and, for each recording of the run, the last episode that belongs to the view. A run that is taken
up again starts a new recording there. What an earlier process recorded after its last checkpoint stays in the log, since nothing
is ever changed there, but not in the view: the run plays those episodes again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from iomt_core.model.snapshot import Snapshot
from iomt_core.rollout import Step
from iomt_core.training.observation_encoder import ObservationEncoder
from iomt_core.training.replay import Replay
from iomt_core.twin.access import OBSERVATIONS, STATE, Event, Gate, Grant, Identity, Resource, warehouse_of
from iomt_core.twin.access.hooks import DONE, audit_hook
from iomt_core.twin.access.identity import KEY, issue_token
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.audit_log import open_audit_log
from iomt_core.twin.warehouse.episodes import STEP_COLUMNS, TASK_COLUMNS, replay_columns, training_rows
from iomt_core.twin.warehouse.errors import WarehouseError
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.recorder import configuration
from iomt_core.twin.warehouse.writer import WarehouseWriter

SUBJECT = "training"  # in the audit log: the process that appends for all agents
LIFETIME = 8 * 3600.0  # seconds that a token of an agent is valid; then the run issues another one
MARGIN = 60.0  # seconds before its end at which a token is renewed


class WarehouseReplay(Replay):
    """The latest `capacity` episodes of a training run, recorded in the warehouse in `folder` and read from there.

    facts: what the configuration of its recordings says about the run, as JSON. The run is the warehouse's only writer until
    `close`. Raises `WarehouseError` where another process writes or a user of the ward was forgotten.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], encoder: ObservationEncoder, capacity: int) -> None:
        super().__init__(encoder, capacity)
        self.folder, self.facts = folder, dict(facts)
        self.recordings: list[tuple[int, int]] = []  # number of each recording, and its last episode in the view
        self._session: _Session | None = None
        self._begun = False  # whether this process has begun a recording
        self._read: dict[
            int, tuple[int, int]
        ] = {}  # last sequence numbers of tasks and of steps that were read of each user
        self._open()

    def add(
        self, steps: Sequence[Step], after: Snapshot, requested: Sequence[Tensor], prices: Sequence[Tensor] = ()
    ) -> None:
        """Records T played steps of B episodes in one commit, and reads them from the warehouse; see `Replay.add`.

        prices: none, because runs of coupled steps replay from memory.
        """
        session, first, batch = self._open(), self.count + 1, len(after.D)
        if not self._begun:
            before = self.recordings[-1][0] if self.recordings else None
            facts = {**self.facts, "first_episode": first, "continues": before}
            self.recordings.append((session.writer.begin_recording(configuration(self.scenario, facts)), self.count))
            self._begun, self._read = True, {}
        recording = self.recordings[-1][0]
        session.writer.append(*training_rows(self.scenario, first, steps, after, requested), recording)
        columns = replay_columns(self.scenario, first, batch, self._new_rows(session, recording))
        self.insert({name: values.to(after.D.device) for name, values in columns.items()})
        self.recordings[-1] = recording, self.count

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it: its recordings, and revision and head hash of the warehouse."""
        revision = self._open().writer.revision
        head = Warehouse(self.folder).head_hash(revision)
        return {
            "recordings": torch.tensor(self.recordings, dtype=torch.int64).reshape(-1, 2),
            "revision": torch.tensor(revision),
            "head": torch.tensor(list(bytes.fromhex(head)), dtype=torch.uint8),
        }

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Reads the episodes of a checkpoint from the warehouse.

        Raises `WarehouseError` where the warehouse is another one, was shortened, or has not all the episodes any more.
        """
        session = self._open()
        if tensors.keys() != {"recordings", "revision", "head"}:
            raise WarehouseError(
                f"warehouse = {str(self.folder)!r}: the checkpoint is of a run that replayed from memory."
            )
        revision, head = int(tensors["revision"]), bytes(tensors["head"].tolist()).hex()
        if session.warehouse.head_hash(revision) != head:
            raise WarehouseError(
                f"warehouse = {str(self.folder)!r} is not the one that this run recorded: revision {revision} of the checkpoint "
                "is missing or another one. Put back the folder of the run, or start a new run."
            )
        self.recordings = [(int(number), int(last)) for number, last in tensors["recordings"].tolist()]
        before, self._begun, self.count = 0, False, max(0, count - self.capacity)
        for number, last in self.recordings:
            first = max(before, self.count) + 1
            if first <= last:
                self._read = {}
                columns = replay_columns(self.scenario, first, last - first + 1, self._new_rows(session, number))
                self.insert({name: values.to(tensors["head"].device) for name, values in columns.items()})
            before = last
        assert self.count == count

    def close(self) -> None:
        """Lets another process write to the warehouse, and signs the audit log; adding opens both again."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self) -> _Session:
        if self._session is None:
            self._session = _Session(self.folder, self.scenario.user_numbers)
        return self._session

    def _new_rows(self, session: _Session, recording: int) -> dict[int, Any]:
        """Rows of tasks and of steps of a recording for each user, those that were not read yet."""
        session.record_reads()
        found = {}
        for user in self.scenario.user_numbers:
            log, (last_task, last_step) = session.logs[user], self._read.get(user, (0, 0))
            tasks = log.tasks(columns=TASK_COLUMNS, after=last_task, recording=recording)
            steps = log.steps(columns=STEP_COLUMNS, after=last_step, recording=recording)
            found[user] = tasks, steps
            self._read[user] = _last(tasks, last_task), _last(steps, last_step)
        return found


class _Session:
    """The open warehouse of a run: its writer, each user's log, and what the audit log has to say about reading them."""

    def __init__(self, folder: Path, users: Sequence[int]) -> None:
        self._audit = open_audit_log(folder, create=True)
        try:
            self.warehouse = Warehouse(folder)
            if gone := set(users) & set(self.warehouse.forgotten):
                raise WarehouseError(
                    f"warehouse = {str(folder)!r}: user {min(gone)} was forgotten, so that nothing of this user can be recorded "
                    "or replayed. Choose another warehouse, or switch the user off."
                )
            self._key = signing_key(KEY)
            self._gate = Gate(self._audit, self._key.public_key())
            self._grants: dict[tuple[Identity, str, Resource], Grant] = {}
            # Power failures too: a checkpoint, which survives them, names a revision.
            self.writer = WarehouseWriter(folder, synchronous="FULL", audit=audit_hook(self._audit, SUBJECT))
        except BaseException:
            self._audit.close()
            raise
        self._users = tuple(users)
        self.logs = {user: self.warehouse.log(user) for user in users}

    def record_reads(self) -> None:
        """Checks the permissions of all agents and of management, and records that they read up to this revision."""
        at = f"@{self.writer.revision}"
        agents = [(Identity("agent", user), warehouse_of(user)) for user in self._users]
        reads = [*agents, (Identity("management"), OBSERVATIONS), (Identity("management"), STATE)]
        for identity, resource in agents:
            self._require(identity, "append", resource)
        for identity, resource in reads:
            self._require(identity, "read", resource)
        self._audit.append(*(Event(str(identity), "read", f"{resource}{at}", DONE) for identity, resource in reads))

    def close(self) -> None:
        try:
            self.writer.close()
        finally:
            self._audit.close()

    def _require(self, identity: Identity, action: str, resource: Resource) -> None:
        grant = self._grants.get((identity, action, resource))
        if grant is None or time.time() >= grant.expires - MARGIN:
            token = issue_token(identity, self.warehouse.identity, LIFETIME, self._key)
            grant = self._grants[identity, action, resource] = self._gate.authorise(token, action, resource)
        self._gate.require(grant, action, resource)


def _last(table: pa.Table, before: int) -> int:
    """The last sequence number of the rows; `before` if there are none."""
    return int(table["sequence"][-1].as_py()) if len(table) else before
