"""Visible examples: small numbers, worked by hand. Run them with `pytest test_examples.py`."""

import pytest
import speculative as kata
import torch


def test_decode_bound():
    got = kata.decode_bound(70e9, 2, 2.039e12, 312e12)
    assert got["seconds"] == pytest.approx(140 / 2039)
    assert got["busy"] == pytest.approx(0.00654, abs=1e-5)
    assert got["turn"] == pytest.approx(312 / 2.039)
    assert kata.decode_bound(70e9, 2, 2.039e12, 312e12, tokens=100)["seconds"] == pytest.approx(140 / 2039)


def test_accept():
    weights = torch.tensor([0.0, 2.0, 6.0]).expand(4, 3)
    assert kata.inverse_cdf(weights, torch.tensor([0.0, 0.2, 0.25, 0.9])).tolist() == [1, 1, 2, 2]
    p = torch.tensor([[[0.2, 0.8], [0.25, 0.75]]]).expand(3, 2, 2)
    q, drafts = torch.full((3, 1, 2), 0.5), torch.zeros(3, 1, dtype=torch.int64)
    kept, further = kata.accept(p, q, drafts, torch.tensor([[0.3, 0.1], [0.3, 0.5], [0.5, 0.1]]))
    assert kept.tolist() == [1, 1, 0]
    assert further.tolist() == [0, 1, 1]


def test_speculative_generate():
    def counts(rows, fed, start):  # certain that the next token is one more
        return 50.0 * torch.nn.functional.one_hot((fed + 1) % 5, 5)

    def halts(rows, fed, start):  # as sure, but 3 follows on 3
        return 50.0 * torch.nn.functional.one_hot(torch.where(fed == 3, 3, (fed + 1) % 5), 5)

    prompt, generator = torch.tensor([[3], [0]]), torch.Generator().manual_seed(0)
    for draft in (counts, halts):
        out = kata.speculative_generate(counts, draft, prompt, 6, 2, 0.0, generator=generator)
        assert out.tolist() == [[4, 0, 1, 2, 3, 4], [1, 2, 3, 4, 0, 1]]


def test_rollback():
    cache = torch.arange(16.0).view(2, 1, 8, 1)
    lengths = kata.rollback([cache], torch.tensor([3, 1]), torch.tensor([[1, 4], [0, 0]]), torch.tensor([2, 1]))
    assert lengths.tolist() == [5, 2]
    assert cache[0].flatten()[:5].tolist() == [0.0, 1.0, 2.0, 4.0, 7.0]
    assert cache[1].flatten()[:2].tolist() == [8.0, 9.0]


def test_expected_speedup():
    assert kata.tokens_per_run(0.5, 2) == 1.75
    assert kata.expected_speedup(0.5, 2, 0.25) == pytest.approx(1.75 / 1.5)
    assert kata.expected_speedup(0.5, 1, 0.25, rows=20, turn=10) == pytest.approx(1.5 * 2 / (0.25 * 2 + 4))
    assert kata.best_gamma(0.75, 0.02, 20) == 9
    assert kata.best_gamma(0.1, 0.2, 20) == 0


def test_choose_draft():
    text = [7, 1, 2, 3, 9, 1, 2, 5, 1, 2]
    assert kata.ngram_draft(text, longest=3, gamma=2) == [5, 1]
    assert kata.ngram_draft([1, 2, 3], longest=3, gamma=2) == []
    got = kata.choose_draft({"small": [4, 1, 0, 3], "tiny": [0, 0, 1, 0]}, 4, {"small": 0.1, "tiny": 0.02}, 8)
    assert got["alpha"] == pytest.approx({"small": 8 / 11, "tiny": 1 / 5})
    assert (got["draft"], got["gamma"]) == ("small", 4)


def test_tree_mask():
    mask, places = kata.tree_mask(torch.tensor([-1, 0, 0, 1]), past=1)
    assert mask.int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 1, 0, 1]]
    assert places.tolist() == [1, 2, 2, 3]
    with pytest.raises(ValueError):
        kata.tree_mask(torch.tensor([1, -1]), past=1)


def test_verify_tree():
    p, q = torch.tensor([[0.2, 0.8], [1.0, 0.0], [1.0, 0.0]]), torch.full((3, 2), 0.5)
    tokens, parents = torch.tensor([0, 0]), torch.tensor([-1, -1])
    assert kata.verify_tree(p, q, tokens, parents, torch.tensor([0.3, 0.9, 0.5]), True) == ([0], 0)
    assert kata.verify_tree(p, q, tokens, parents, torch.tensor([0.5, 0.0, 0.5]), True) == ([], 1)


def test_medusa_candidates():
    logits = torch.tensor([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0]])
    tokens, parents = kata.medusa_candidates(logits, [(0, 1), (0,), (1,), (0, 0)])
    assert tokens.tolist() == [1, 2, 0, 2]
    assert parents.tolist() == [-1, -1, 0, 0]
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]])
    assert kata.typical_acceptance(p, torch.tensor([1, 1]), torch.tensor([-1, 0]), 0.3, 0.8) == ([0], 0)


def test_continuous_batcher():
    batch = kata.ContinuousBatcher(budget=6, slots=20, gamma=2)
    batch.add(7, prompt=8, tokens=5)
    assert batch.schedule() == {"decode": {}, "prefill": {7: 6}, "preempted": []}
    assert batch.update({}) == []
    batch.add(8, prompt=3, tokens=1)
    assert batch.schedule() == {"decode": {}, "prefill": {7: 2, 8: 3}, "preempted": []}
    assert batch.update({}) == [8]
    assert batch.schedule() == {"decode": {7: 3}, "prefill": {}, "preempted": []}
    assert batch.update({7: 2}) == []
    assert batch.schedule() == {"decode": {7: 1}, "prefill": {}, "preempted": []}
    assert batch.update({7: 0}) == [7]
