"""Stacked networks compute the same as the single networks one by one."""

from __future__ import annotations

import torch
from torch import nn

from iomt_core.nets.encoder import HEADS, Encoder
from iomt_core.nets.grouped import GroupedGRU, GroupedLinear

G, N, D = 3, 5, 8


def test_linear() -> None:
    layer = GroupedLinear(G, D, 4)
    x = torch.randn(G, 2, N, D)
    for g in range(G):
        one = nn.functional.linear(x[g], layer.weight[g].T, layer.bias[g, 0])
        torch.testing.assert_close(layer(x)[g], one)


def test_gru_is_torchs() -> None:
    layer = GroupedGRU(G, D)
    assert layer.from_state is not None
    x, start = torch.randn(G, 6, N, D), torch.randn(G, N, D)
    states = layer.unroll(x, start)
    order = torch.cat(
        [torch.arange(D, 2 * D), torch.arange(D), torch.arange(2 * D, 3 * D)]
    )  # torch: reset, update, new
    for g in range(G):
        one = nn.GRU(D, D)
        with torch.no_grad():
            one.weight_ih_l0.copy_(layer.from_input.weight[g].T[order])
            one.bias_ih_l0.copy_(layer.from_input.bias[g, 0, order])
            one.weight_hh_l0.copy_(layer.from_state.weight[g].T[order])
            one.bias_hh_l0.copy_(layer.from_state.bias[g, 0, order])
        torch.testing.assert_close(states[g, 1:], one(x[g], start[g][None])[0])
    torch.testing.assert_close(layer.advance(x[:, :1], start)[:, 0], states[:, 1])


def literal_attention(encoder: Encoder, g: int, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """One group's attention computed by torch's own function: (N, rows, D) attends to (N, tokens, D)."""
    weight, bias = encoder.project.weight[g], encoder.project.bias[g, 0]
    norm = nn.LayerNorm(D, elementwise_affine=False)
    own = nn.MultiheadAttention(D, HEADS, batch_first=True)
    with torch.no_grad():
        own.in_proj_weight.copy_(weight.T)
        own.in_proj_bias.copy_(bias)
        own.out_proj.weight.copy_(encoder.out.weight[g].T)
        own.out_proj.bias.copy_(encoder.out.bias[g, 0])
    rows = rows + own(norm(rows), norm(tokens), norm(tokens))[0]
    hidden = torch.relu(norm(rows) @ encoder.wide.weight[g] + encoder.wide.bias[g, 0])
    return rows + hidden @ encoder.narrow.weight[g] + encoder.narrow.bias[g, 0]


def test_encoder_is_torchs_attention() -> None:
    encoder = Encoder(G, D, 16)
    tokens = torch.randn(G, 4, N, D)
    for g in range(G):
        one = tokens[g].transpose(0, 1)
        torch.testing.assert_close(
            encoder(tokens)[g].transpose(0, 1), literal_attention(encoder, g, one, one), atol=1e-5, rtol=1e-4
        )


def test_passes_are_each_alone() -> None:
    encoder = Encoder(G, D, 16)
    rows, memory = torch.randn(G, 3, N, D), torch.randn(G, 2, N, D)
    found = encoder.passes(rows, memory)
    for g in range(G):
        for p in range(3):
            row = rows[g, p][:, None]
            tokens = torch.cat([row, memory[g].transpose(0, 1)], dim=1)
            wanted = literal_attention(encoder, g, row, tokens)[:, 0]
            torch.testing.assert_close(found[g, p], wanted, atol=1e-5, rtol=1e-4)


def test_absent_tokens_do_not_matter() -> None:
    encoder = Encoder(G, D, 16)
    tokens = torch.randn(G, 4, N, D)
    present = torch.ones(G, 4, N, dtype=torch.bool)
    present[:, 3] = False
    other = tokens.clone()
    other[:, 3] = 100.0
    torch.testing.assert_close(encoder(tokens, present)[:, :3], encoder(other, present)[:, :3])
    torch.testing.assert_close(encoder(tokens, present)[:, :3], encoder(tokens[:, :3]), atol=1e-6, rtol=1e-5)
