"""Generation: the same tokens whatever the batch, equal to transformers, honest about what is sampled."""

import collections

import numpy as np
import pytest
import torch
from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from tests.support import micro
from vidreason.engine.generation import (
    Completions,
    Decoding,
    NotFiniteError,
    choose_tokens,
    decode,
    generate,
    rollout_seed,
    uniforms,
)
from vidreason.engine.log_probs import completion_log_probs
from vidreason.engine.prompts import prompts_of
from vidreason.rl.losses import token_log_probs

NEVER = -1
"""An end of sequence that no token is."""
TOKENS = 12


@pytest.fixture(scope="module")
def model():
    return micro.model()


@pytest.fixture(scope="module")
def prompts():
    """Three prompts of different lengths, each with a video."""
    asked = [
        micro.question(0),
        micro.question(1, text="How many things appear?", options=("two", "three", "four", "ball")),
        micro.question(2, text="Which thing comes right after the ball?", options=("box", "kite")),
    ]
    made = prompts_of(micro.model(), asked, "reason", training=True)
    assert len({len(row) for row in made}) == 3
    return made


@pytest.fixture(scope="module")
def videos():
    return micro.videos(3)


def seeds(prompts, group):
    return [rollout_seed(5, "test", prompt, g) for prompt in range(prompts) for g in range(group)]


@pytest.fixture(scope="module")
def end(model, prompts, videos):
    """A token that ends some rollouts early, some late and some never."""
    free = generate(model, prompts, videos, Decoding(TOKENS, 1.0, 6), NEVER, 4, seeds(3, 4))
    counts = collections.Counter(token for row in free.ids.tolist() for token in set(row[1:]))
    return next(token for token, rows in counts.most_common() if rows < 10)


def rows_of(completions):
    return [row[:length] for row, length in zip(completions.ids.tolist(), completions.lengths.tolist(), strict=True)]


def plain_logits(model, prompt, video, tokens):
    """Logits of one sequence without padding, packing or cache, at the places that predict `tokens`."""
    ids = torch.cat([prompt, torch.tensor(tokens, dtype=torch.long)])
    embeds = model.build_inputs([ids], video[None]).embeds
    logits = model(embeds).logits[0]
    return logits[len(logits) - len(tokens) - 1 : -1]


class TestSampling:
    def test_rows_end_at_different_steps(self, model, prompts, videos, end):
        found = generate(model, prompts, videos, Decoding(TOKENS, 1.0, 6), end, 4, seeds(3, 4))
        assert found.ids.shape[0] == 12
        assert len(set(found.lengths.tolist())) > 3
        assert 0 < int(found.finished.sum()) < 12
        for row, finished in zip(rows_of(found), found.finished.tolist(), strict=True):
            assert (row[-1] == end) == finished
            assert end not in row[:-1]
            assert finished or len(row) == TOKENS
        assert (found.ids[~found.mask] == end).all()

    @pytest.mark.parametrize("decoding", [Decoding(TOKENS, 1.0, 6), Decoding(TOKENS, 1.0, 0, 0.7)])
    def test_a_batch_of_groups_equals_one_rollout_at_a_time(self, model, prompts, videos, end, decoding):
        group = 4
        together = rows_of(generate(model, prompts, videos, decoding, end, group, seeds(3, group)))
        for prompt in range(3):
            for g in range(group):
                alone = generate(
                    model,
                    prompts[prompt : prompt + 1],
                    videos[prompt : prompt + 1],
                    decoding,
                    end,
                    1,
                    [seeds(3, group)[prompt * group + g]],
                )
                assert rows_of(alone) == [together[prompt * group + g]]

    def test_other_rows_and_their_order_change_nothing(self, model, prompts, videos, end):
        decoding = Decoding(TOKENS, 1.0, 6)
        names = seeds(3, 2)
        forward = rows_of(generate(model, prompts, videos, decoding, end, 2, names))
        order = [2, 0, 1]
        backward = rows_of(
            generate(
                model,
                [prompts[i] for i in order],
                videos[order],
                decoding,
                end,
                2,
                [names[2 * i + g] for i in order for g in (1, 0)],
            )
        )
        assert backward == [forward[2 * i + g] for i in order for g in (1, 0)]

    def test_rows_that_ended_leave_the_batch(self, model, prompts, videos, end):
        batches = []
        hook = model.language_model.register_forward_pre_hook(
            lambda module, args, kwargs: batches.append(kwargs["inputs_embeds"].shape[0]), with_kwargs=True
        )
        try:
            found = generate(model, prompts, videos, Decoding(TOKENS, 1.0, 6), end, 4, seeds(3, 4))
        finally:
            hook.remove()
        steps = int(found.lengths.max())
        assert batches == [3, *(int((found.lengths > step).sum()) for step in range(1, steps))]

    def test_the_seed_decides(self, model, prompts, videos):
        decoding = Decoding(TOKENS, 1.0, 6)
        once = generate(model, prompts, videos, decoding, NEVER, 2, seeds(3, 2)).ids
        again = generate(model, prompts, videos, decoding, NEVER, 2, seeds(3, 2)).ids
        other = generate(model, prompts, videos, decoding, NEVER, 2, [rollout_seed(6, "test", i) for i in range(6)]).ids
        assert torch.equal(once, again)
        assert all(not torch.equal(a, b) for a, b in zip(once, other, strict=True))

    def test_tokens_come_from_the_most_likely(self, model, prompts, videos):
        top_k = 3
        found = generate(model, prompts, videos, Decoding(TOKENS, 1.0, top_k), NEVER, 4, seeds(3, 4))
        ranks = set()
        for number, row in enumerate(rows_of(found)):
            logits = plain_logits(model, prompts[number // 4], videos[number // 4], row)
            ranks.update((logits > logits.gather(1, torch.tensor(row)[:, None])).sum(dim=1).tolist())
        assert ranks == {0, 1, 2}

    def test_without_a_limit_more_tokens_come(self, model, prompts, videos):
        found = generate(model, prompts, videos, Decoding(TOKENS, 2.0, 0), NEVER, 4, seeds(3, 4))
        logits = [plain_logits(model, prompts[n // 4], videos[n // 4], row) for n, row in enumerate(rows_of(found))]
        ranks = torch.cat(
            [
                (own > own.gather(1, torch.tensor(row)[:, None])).sum(dim=1)
                for own, row in zip(logits, rows_of(found), strict=True)
            ]
        )
        assert int(ranks.max()) > 50

    def test_one_seed_a_rollout_is_needed(self, model, prompts, videos):
        with pytest.raises(ValueError, match="6 rollouts, 5 seeds"):
            generate(model, prompts, videos, Decoding(4), NEVER, 2, seeds(3, 2)[:5])
        with pytest.raises(ValueError, match="3 rollouts, 0 seeds"):
            generate(model, prompts, videos, Decoding(4), NEVER)


class TestGreedy:
    def test_equals_transformers(self, model, prompts, videos):
        inputs = model.build_inputs(prompts, videos, padding_side="left")
        embeds, mask = inputs.embeds, inputs.mask
        found = generate(model, prompts, videos, Decoding(TOKENS, 0.0), NEVER)
        theirs = model.language_model.generate(
            inputs_embeds=embeds, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False, eos_token_id=None,
            pad_token_id=micro.tokenizer().eos_token_id,
        )  # fmt: skip
        assert torch.equal(found.ids, theirs)
        assert not found.finished.any()

    def test_stops_where_transformers_stops(self, model, prompts, videos):
        free = generate(model, prompts, videos, Decoding(TOKENS, 0.0), NEVER).ids
        end = int(free[0, 4])
        inputs = model.build_inputs(prompts, videos, padding_side="left")
        embeds, mask = inputs.embeds, inputs.mask
        found = generate(model, prompts, videos, Decoding(TOKENS, 0.0), end)
        theirs = model.language_model.generate(
            inputs_embeds=embeds, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False, eos_token_id=end,
            pad_token_id=end,
        )  # fmt: skip
        assert torch.equal(found.ids, theirs)
        assert bool(found.finished[0])

    def test_one_candidate_is_greedy(self, model, prompts, videos):
        greedy = generate(model, prompts, videos, Decoding(TOKENS, 0.0), NEVER, 2).ids
        single = generate(model, prompts, videos, Decoding(TOKENS, 1.0, 1), NEVER, 2, seeds(3, 2)).ids
        assert torch.equal(greedy, single)

    def test_text_without_a_video(self, model):
        ids = [torch.tensor(micro.tokenizer()(text).input_ids) for text in ("Which thing", "How many things appear")]
        together = generate(model, ids, None, Decoding(5, 0.0), NEVER).ids
        assert torch.equal(together[:1], generate(model, ids[:1], None, Decoding(5, 0.0), NEVER).ids)


class TestDecode:
    def test_columns_are_those_of_generate(self, model, prompts, videos, end):
        arguments = (model, prompts, videos, Decoding(TOKENS, 1.0, 6), end, 4, seeds(3, 4))
        rows = [[] for _ in range(12)]
        for column in decode(*arguments):
            for row, token in zip(column.rows.tolist(), column.tokens.tolist(), strict=True):
                rows[row].append(token)
        assert rows == rows_of(generate(*arguments))

    def test_a_column_is_there_before_the_next_is_computed(self, model, prompts, videos):
        passes = []
        hook = model.language_model.register_forward_pre_hook(lambda *_: passes.append(1))
        try:
            columns = decode(model, prompts, videos, Decoding(TOKENS, 0.0), NEVER)
            for count in (1, 2, 3):
                assert next(columns).rows.tolist() == [0, 1, 2]
                assert len(passes) == count
        finally:
            hook.remove()


class TestChooseTokens:
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0, 0.5]])

    @pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (0.5, 0), (2.0, 3), (1.0, 2)])
    def test_shares_are_those_of_the_softmax(self, temperature, top_k):
        count = 2000
        grid = torch.arange(count, dtype=torch.float64) / count + 0.5 / count
        tokens = choose_tokens(self.logits.expand(count, -1), Decoding(1, temperature, top_k), grid)
        kept = self.logits[0].topk(top_k or 5).indices
        wanted = torch.zeros(5, dtype=torch.float64)
        wanted[kept] = (self.logits[0, kept].double() / temperature).softmax(0)
        shares = torch.bincount(tokens, minlength=5) / count
        # Inverting the distribution on an even grid misses a share by less than one step of the grid.
        assert torch.allclose(shares.double(), wanted, atol=1.01 / count)

    @pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
    @pytest.mark.parametrize("top_k", [0, 1, 7])
    @pytest.mark.parametrize("top_p", [1e-6, 0.1, 0.5, 0.95, 1.0])
    def test_top_p_leaves_the_tokens_that_transformers_leaves(self, temperature, top_k, top_p):
        """Every row has a nucleus of its own; the grid of random numbers reaches every token that has a share."""
        logits = torch.randn(6, 23, generator=torch.Generator().manual_seed(5), dtype=torch.float64).float() * 2
        warpers = [TemperatureLogitsWarper(temperature)]
        warpers += [TopKLogitsWarper(top_k)] if top_k else []
        warpers += [TopPLogitsWarper(top_p)]
        scores = logits.double()
        for warper in warpers:
            scores = warper(None, scores)
        count = 4000
        grid = torch.arange(count, dtype=torch.float64) / count + 0.5 / count
        decoding = Decoding(1, temperature, top_k, top_p)
        tokens = choose_tokens(logits.repeat_interleave(count, dim=0), decoding, grid.repeat(len(logits))).view(
            len(logits), count
        )
        shares = torch.stack([torch.bincount(row, minlength=logits.shape[1]) for row in tokens]) / count
        assert torch.allclose(shares.double(), scores.softmax(-1), atol=1.01 / count)
        assert not shares[scores.isneginf()].any()

    def test_top_p_keeps_the_token_that_reaches_the_share(self):
        """Probabilities 1/2, 1/4, 1/4: a share of exactly 1/2 is the first token's, any more needs the second."""
        logits = torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64).mul(np.log(2)).float()
        grid = torch.linspace(0, 1, 50, dtype=torch.float64)[:-1]
        for top_p, kept in ((0.49, 1), (0.51, 2), (0.74, 2), (0.76, 3)):
            tokens = choose_tokens(logits.expand(len(grid), -1), Decoding(1, 1.0, 0, top_p), grid)
            assert len(set(tokens.tolist())) == kept, top_p

    @pytest.mark.parametrize("top_k", [0, 3])
    def test_without_top_p_no_token_changes(self, top_k):
        logits = torch.randn(50, 200, generator=torch.Generator().manual_seed(6))
        random = torch.rand(50, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
        plain = choose_tokens(logits, Decoding(1, 0.9, top_k), random)
        assert torch.equal(plain, choose_tokens(logits, Decoding(1, 0.9, top_k, 1.0), random))

    @pytest.mark.parametrize("top_p", [None, 0.5])
    def test_the_largest_random_number_takes_the_last_token_that_is_left(self, top_p):
        """Every token has the same probability, 1/5; half of the probability are three of them."""
        ends = torch.tensor([float(np.nextafter(1.0, 0.0))], dtype=torch.float64)
        order = torch.zeros(1, 5).topk(5).indices[0].tolist()
        assert (
            choose_tokens(torch.zeros(1, 5), Decoding(1, 1.0, 0, top_p), ends).item()
            == order[4 if top_p is None else 2]
        )

    def test_the_ends_of_the_interval_are_tokens(self):
        ends = torch.tensor([0.0, float(np.nextafter(1.0, 0.0))], dtype=torch.float64)
        assert choose_tokens(self.logits.expand(2, -1), Decoding(1, 1.0, 0), ends).tolist() == [0, 3]

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_logits_that_are_not_finite_are_refused(self, prompts, videos, bad, temperature):
        """One of them, of one row, in the second step."""
        model, calls = micro.model(), iter(range(100))

        def spoil(module, given, logits):
            if next(calls) == 1:
                logits[1, -1, 2] = bad
            return logits

        model.head.register_forward_hook(spoil)
        with pytest.raises(NotFiniteError, match="weights have diverged"):
            generate(model, prompts, videos, Decoding(3, temperature), NEVER, seeds=seeds(1, len(prompts)))

    def test_diverged_weights_stop_generation(self, prompts, videos):
        broken = micro.model(seed=1)
        with torch.no_grad():
            broken.language_model.model.norm.weight.fill_(float("nan"))
        with pytest.raises(ValueError, match="weights have diverged"):
            generate(broken, prompts, videos, Decoding(3, 0.0), NEVER)

    @pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_k": -1}])
    def test_settings_without_a_meaning_are_refused(self, wrong):
        with pytest.raises(ValueError, match="must be at least"):
            Decoding(**{"max_new_tokens": 1, **wrong})

    @pytest.mark.parametrize("top_p", [0.0, -0.5, 1.01, float("nan")])
    def test_a_share_that_is_none_is_refused(self, top_p):
        with pytest.raises(ValueError, match=r"top_p must be above 0 and at most 1, or None"):
            Decoding(1, top_p=top_p)


class TestSeeds:
    def test_every_part_of_the_name_counts(self):
        names = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "ab", 1), (0, "a long question-7", 1)]
        names += [
            (seed, "grpo", step, f"video-{n}", g)
            for seed in (0, 1)
            for step in (0, 1)
            for n in range(9)
            for g in range(4)
        ]
        rows = uniforms([rollout_seed(*name) for name in names], 4)
        assert len({tuple(row) for row in rows.tolist()}) == len(names)
        assert torch.equal(rows[:1], uniforms([rollout_seed(0, "a", 1)], 4))

    def test_longer_rows_begin_alike(self):
        seed = rollout_seed(3, "x")
        assert torch.equal(uniforms([seed], 8)[:, :4], uniforms([seed], 4))
        assert ((uniforms([seed], 1000) >= 0) & (uniforms([seed], 1000) < 1)).all()


class TestLogProbabilities:
    group = 3

    @pytest.fixture
    def completions(self, model, prompts, videos, end):
        found = generate(model, prompts, videos, Decoding(TOKENS, 1.0, 6), end, self.group, seeds(3, self.group))
        assert len(set(found.lengths.tolist())) > 2
        return found

    def plain(self, model, prompts, videos, completions):
        """One unpadded sequence after the other, prompt and video repeated: what upstream computes."""
        rows = []
        for number, row in enumerate(rows_of(completions)):
            logits = plain_logits(model, prompts[number // self.group], videos[number // self.group], row)
            own = token_log_probs(logits, torch.tensor(row))
            rows.append(torch.cat([own, own.new_zeros(completions.ids.shape[1] - len(row))]))
        return torch.stack(rows)

    def test_values_are_those_of_a_plain_forward(self, model, prompts, videos, completions):
        ours = completion_log_probs(model, prompts, videos, completions, self.group)
        plain = self.plain(model, prompts, videos, completions)
        # Two orders of summation in float32 over two layers; log-probabilities here are of the order of 1 to 10.
        assert torch.allclose(ours, plain, atol=1e-5, rtol=0)
        assert float(plain.detach().abs().max()) > 1

    def test_tokens_past_the_end_are_zero(self, model, prompts, videos, completions):
        ours = completion_log_probs(model, prompts, videos, completions, self.group)
        assert (ours[~completions.mask] == 0).all()
        assert (ours[completions.mask] < 0).all()

    def test_recomputed_values_are_the_same(self, model, prompts, videos, completions):
        ours = completion_log_probs(model, prompts, videos, completions, self.group, recompute=True)
        assert torch.allclose(ours, self.plain(model, prompts, videos, completions), atol=1e-5, rtol=0)
        assert (ours[~completions.mask] == 0).all()

    def test_recomputing_keeps_no_activations(self, prompts, videos, completions):
        """Every layer runs a second time in the backward pass, and only then; generation afterwards has its cache."""
        model = micro.model()
        passes = []
        model.language_model.model.layers[0].self_attn.register_forward_pre_hook(lambda *_: passes.append(1))
        for recompute, forward, backward in ((False, 1, 0), (True, 1, 1)):
            passes.clear()
            logp = completion_log_probs(model, prompts, videos, completions, self.group, recompute)
            assert len(passes) == forward
            logp.sum().backward()
            assert len(passes) == forward + backward
        assert not any(layer.training for layer in model.language_model.model.layers)
        again = generate(model, prompts, videos, Decoding(4, 0.0), NEVER)
        assert torch.equal(again.ids, generate(micro.model(), prompts, videos, Decoding(4, 0.0), NEVER).ids)

    @pytest.mark.parametrize("recompute", [False, True])
    def test_gradients_are_those_of_a_plain_forward(self, prompts, completions, recompute):
        """In every weight, the connector's included: the video is encoded once for all rollouts."""
        weight = torch.randn(completions.ids.shape, generator=torch.Generator().manual_seed(1))
        pixels = torch.randn(3, micro.FRAMES, 3, micro.SIZE, micro.SIZE, generator=torch.Generator().manual_seed(2))
        gradients = []
        for packed in (True, False):
            model = micro.model()
            videos = model.encode_videos(pixels)
            if packed:
                logp = completion_log_probs(model, prompts, videos, completions, self.group, recompute)
            else:
                logp = self.plain(model, prompts, videos, completions)
            (logp * weight).sum().backward()
            gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
        ours, plain = gradients
        assert any(name.startswith("connector.") for name in ours)
        for name, gradient in plain.items():
            assert gradient is not None, name
            size = float(gradient.norm())
            assert size > 0, name
            # Float32: the sums over tokens run in another order; measured at most 2e-6 of the gradient's norm.
            assert float((ours[name] - gradient).norm()) <= 1e-5 * size, name

    def test_one_token(self, model, prompts, videos):
        single = generate(model, prompts, videos, Decoding(1, 1.0, 6), NEVER, 2, seeds(3, 2))
        ours = completion_log_probs(model, prompts, videos, single, 2)
        assert ours.shape == (6, 1)
        first = plain_logits(model, prompts[1], videos[1], single.ids[2].tolist()).log_softmax(-1)
        assert float(ours[2, 0].detach()) == pytest.approx(float(first[0, single.ids[2, 0]].detach()), abs=1e-5)


def test_texts_leave_out_what_is_no_text():
    tokenizer = micro.tokenizer()
    ids_of_text = tokenizer(" so the answer").input_ids
    end = tokenizer.eos_token_id
    ids = torch.tensor([[*ids_of_text, end, 5], [ids_of_text[0], len(tokenizer) + 7, end, end, end]])
    completions = Completions(ids, torch.tensor([len(ids_of_text) + 1, 3]), torch.tensor([True, True]))
    assert completions.texts(tokenizer) == ["so the answer", "so"]


def test_batches_put_together_are_one_batch():
    ids = torch.tensor([[5, 6, 7], [5, 9, 9]])
    whole = Completions(ids, torch.tensor([3, 2]), torch.tensor([False, True]))
    first, second = whole.split(1)
    short = Completions(second.ids[:, :2], second.lengths, second.finished)
    again = Completions.concatenated([first, short], end=9)
    assert torch.equal(again.ids, whole.ids)
    assert torch.equal(again.mask, whole.mask)
    assert again.finished.tolist() == [False, True]
