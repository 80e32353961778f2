"""dl_022 against published figures and transformers: speculative sampling, prompt lookup, generation, tree masks."""

import pytest
import torch

from grader.answering.module import solution


@pytest.fixture(scope="module")
def kata():
    return solution("dl_022_speculative")


def test_seventy_billion_parameters_on_an_a100(kata):
    got = kata.decode_bound(70e9, 2, 2.039e12, 312e12)
    assert round(1000 * got["seconds"], 1) == 68.7
    assert round(100 * got["busy"], 1) == 0.7
    assert round(got["turn"]) == 153


@pytest.mark.parametrize(
    ("alpha", "gamma", "times"),
    [(0.6, 2, 1.96), (0.7, 3, 2.53), (0.8, 2, 2.44), (0.8, 5, 3.69), (0.9, 2, 2.71), (0.9, 10, 6.86)],
)
def test_leviathans_table_1(kata, alpha, gamma, times):
    """Speed-ups where the draft costs nothing."""
    assert round(kata.tokens_per_run(alpha, gamma), 2) == times
    assert kata.expected_speedup(alpha, gamma, 0.0) == kata.tokens_per_run(alpha, gamma)


def test_leviathans_corollary_and_t5(kata):
    """A gain exists exactly if alpha > c; T5-small for T5-XXL: 3.60 tokens a run, 3.16 times (3.4 were measured)."""
    assert round(kata.tokens_per_run(0.75, 7), 2) == 3.60
    assert round(kata.expected_speedup(0.75, 7, 0.02), 2) == 3.16
    for i in range(1, 20):
        for j in range(1, 20):
            if i != j:
                assert (kata.best_gamma(i / 20, j / 20, 4) > 0) == (i > j)


@pytest.mark.reference
def test_acceptance_is_that_of_transformers(kata, monkeypatch):
    from transformers.generation.utils import _speculative_sampling

    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        p, q = (torch.randn(1, n, 7, generator=generator, dtype=torch.float64) for n in (5, 4))
        drafts = torch.randint(7, (1, 4), generator=generator)
        p[:, :4] += q
        u = torch.rand(1, 5, generator=generator, dtype=torch.float64)
        monkeypatch.setattr(torch, "rand_like", lambda like, u=u: u[:, :4].view(like.shape))
        monkeypatch.setattr(torch, "multinomial", lambda law, num_samples, u=u: kata.inverse_cdf(law, u[:, 4])[:, None])
        tokens, matches = _speculative_sampling(drafts, q, 4, p)
        monkeypatch.undo()
        kept, further = kata.accept(p.softmax(dim=-1), q.softmax(dim=-1), drafts, u)
        assert kept.item() == int(matches)
        assert [*drafts[0, : kept.item()].tolist(), further.item()] == tokens[0].tolist()


class _Recomputes:
    """A model of transformers behind the calls of the exercise; each call runs the whole text anew."""

    def __init__(self, model, rows):
        self.model, self.texts, self.calls = model, [[] for _ in range(rows)], 0

    def __call__(self, rows, fed, start):
        self.calls += 1
        out = []
        for row, tokens, at in zip(rows.tolist(), fed.tolist(), start.tolist(), strict=True):
            assert at <= len(self.texts[row])
            self.texts[row] = self.texts[row][:at] + tokens
            with torch.no_grad():
                out.append(self.model(torch.tensor([self.texts[row]])).logits[0, -len(tokens) :])
        return torch.stack(out)


def _llama(layers, seed):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=13,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        attn_implementation="eager",
        initializer_range=0.4,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).double().eval()


@pytest.mark.reference
def test_greedy_tokens_are_those_of_generate(kata):
    model = _llama(2, 0)
    prompt = torch.tensor([[1, 5, 2], [3, 3, 7]])
    want = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=11, do_sample=False)[:, 3:]
    for draft in (_llama(1, 1), model):
        target = _Recomputes(model, 2)
        got = kata.speculative_generate(
            target, _Recomputes(draft, 2), prompt, 11, 3, 0.0, generator=torch.Generator().manual_seed(0)
        )
        assert got.tolist() == want.tolist()
    assert target.calls == 3


@pytest.mark.reference
def test_tree_logits_are_those_of_each_path(kata):
    model, past = _llama(2, 3), [4, 9, 1]
    tokens, parents = [2, 7, 5, 5, 11, 0], [-1, -1, 0, 0, 1, 3]
    mask, places = kata.tree_mask(torch.tensor(parents), len(past))
    whole = torch.cat([torch.ones(3, 9, dtype=torch.bool).tril(), mask])
    additive = torch.zeros(9, 9, dtype=torch.float64).masked_fill(~whole, torch.finfo(torch.float64).min)
    with torch.no_grad():
        ids, at = torch.tensor([past + tokens]), torch.cat([torch.arange(3), places])[None]
        logits = model(ids, attention_mask=additive[None, None], position_ids=at, use_cache=False).logits[0]
        for node in range(6):
            path, one = [], node
            while one >= 0:
                path, one = [tokens[one], *path], parents[one]
            alone = model(torch.tensor([past + path])).logits[0, -1]
            torch.testing.assert_close(logits[3 + node], alone)


@pytest.mark.reference
def test_lookup_is_that_of_transformers_where_one_place_fits(kata):
    from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

    text = [7, 1, 2, 3, 9, 8, 5, 4, 1, 2]
    lookup = PromptLookupCandidateGenerator(num_output_tokens=3, max_matching_ngram_size=2, max_length=50)
    ids, _ = lookup.get_candidates(torch.tensor([text]))
    assert ids[0, len(text) :].tolist() == kata.ngram_draft(text, longest=2, gamma=3) == [3, 9, 8]
