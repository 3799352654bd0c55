"""A trace has what the mixer got and decided; sizes are those of encoded messages; no single task is in ô or ŝ."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from iomt_core.environment.observation import limited_state, mixer_observation
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.training.catalogue import make_policy
from iomt_core.twin.management import borders
from iomt_core.twin.management.borders import AGGREGATE, DECISION, KEPT, OBSERVATION, STATE, TASK_DATA
from iomt_core.twin.moves import SKIPPED
from iomt_core.twin.northbound import Twin

PAPER, LECTURE = PRESETS["paper"], PRESETS["lecture"].changed(T=3)


def played(policy: str, steps: int = 2) -> Twin:
    twin = Twin(PAPER if "@paper" in policy else LECTURE, policy, 5)
    for _ in range(steps):
        twin.advance()
    return twin


@pytest.mark.parametrize("policy", ["sae-mt-qmix", "qmix", "sae-mt-qmix@paper", "mpmt-dqn@paper"])
def test_the_joint_value_is_that_of_the_mixer(policy: str) -> None:
    twin = played(policy)
    found = twin.trace(2)
    decider = make_policy(policy, twin.scenario)
    assert found.agrees
    assert found.mixing is not None
    agents = found.agents()
    with torch.no_grad():
        total = decider.mixer(  # type: ignore[attr-defined]
            torch.tensor(agents["value"].to_numpy(np.float32))[None],
            found.observations[None].float(),
            decider.encoder.state(found.record.snapshot).float(),  # type: ignore[attr-defined]
        )
    assert found.joint_value == pytest.approx(float(total), rel=1e-4)
    if found.mixing.attention is not None:
        assert agents["attention"].sum() == pytest.approx(1.0, rel=1e-5)
    table = twin.table()
    step = table[table["step"] == 2]
    assert agents["offloaded"].tolist() == [int((step["choice"][step["user"] == u] != 0).sum()) for u in agents["user"]]
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["agents"][0]["user"] == 1


def test_sizes_are_those_of_messages_that_can_be_decoded() -> None:
    twin = played("sae-mt-qmix")
    found = twin.trace(2)
    record, s = found.record, twin.scenario
    table = record.table()
    for message in found.messages:
        if message.content is None:
            continue
        assert message.size == len(message.content)
        if message.what == OBSERVATION:
            at = s.user_numbers.index(message.user or 0)
            expected = [*mixer_observation(record.snapshot, s)[0, at].tolist(), float(found.mixing.agent_values[at])]  # type: ignore[union-attr]
            assert borders.decode_observation(message.content).tolist() == pytest.approx(expected, rel=1e-6)
        if message.what == DECISION:
            mine, decoded = table[table["user"] == message.user], borders.decode_decision(message.content)
            assert decoded["task"].tolist() == mine["task"].tolist()
            assert decoded["device"].tolist() == mine["choice"].mask(mine["skipped"], SKIPPED).tolist()
            assert decoded["cpu"].tolist() == pytest.approx(mine["cpu_share_requested"].tolist(), rel=1e-6)
    crossed = found.crossings().set_index("what")
    sent = table[(table["choice"] != 0) & ~table["skipped"]]["data_bits"].sum() / 8
    assert crossed.loc[TASK_DATA, "bytes"] == pytest.approx(sent)
    assert crossed.loc[TASK_DATA, "bytes"] + crossed.loc[KEPT, "bytes"] == pytest.approx(table["data_bits"].sum() / 8)
    users, tasks = s.users, len(table)
    assert crossed["bytes"][[OBSERVATION, DECISION, AGGREGATE]].tolist() == [users * 7 * 4, tasks * 10, users * 8 * 8]
    assert crossed.loc[STATE, "bytes"] == 2 * s.servers * 4


def test_no_single_task_is_in_what_management_receives() -> None:
    twin = played("sae-mt-qmix")
    for step in (1, 2):
        found = twin.trace(step)
        snapshot, s = found.record.snapshot, twin.scenario
        received = [
            borders.decode_observation(m.content) for m in found.messages if m.what == OBSERVATION and m.content
        ]
        received += [limited_state(snapshot, s)[0].numpy(), found.state.numpy()]
        numbers = np.concatenate(received).astype(float)
        tasks = np.concatenate([x.flatten().numpy() for x in (snapshot.D, snapshot.C)])
        scales = [1.0, 8.0, 8e3, s.data_span[1], s.cycle_span[1], s.tasks * s.data_span[1], s.tasks * s.cycle_span[1]]
        for scale in scales:
            assert not np.isclose(numbers[:, None], tasks[None] / scale, rtol=1e-6, atol=0).any()


def test_a_policy_without_a_mixer_has_no_weights_and_no_values() -> None:
    found = played("price-response").trace(1)
    assert (found.mixing, found.joint_value) == (None, None)
    assert found.agents()[["value", "attention", "slope"]].isna().all().all()
    assert found.crossings().set_index("what").loc[OBSERVATION, "bytes"] == LECTURE.users * 6 * 4
    with pytest.raises(ScenarioError, match="step = 3 was not played: allowed is 1 to 2"):
        played("greedy").trace(3)
