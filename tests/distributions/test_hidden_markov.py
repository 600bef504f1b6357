"""Hidden Markov models against sums over all paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from jax import random

from distrax_like import distributions as tfd

KEY = random.key(0)
INITIAL = np.array([0.5, 0.3, 0.2])
TRANSITION = np.array([[0.7, 0.3, 0.0], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
LOC, SCALE = np.array([0.0, 3.0, -2.0]), np.array([1.0, 2.0, 0.5])
VALUE = np.array([0.1, 2.0, 1.5, -1.8])


def model(num_steps=4, **kwargs):
    return tfd.HiddenMarkovModel(
        tfd.Categorical(probs=INITIAL), tfd.Categorical(probs=TRANSITION), tfd.Normal(LOC, SCALE), num_steps, **kwargs
    )


def paths(value, transition=None, mask=None, loc=None):
    """The joint density of each path of states and the values."""
    steps = len(value)
    transition = np.broadcast_to(TRANSITION if transition is None else transition, (steps - 1, 3, 3))
    loc = np.broadcast_to(LOC if loc is None else loc, (steps, 3))
    out = {}
    for path in itertools.product(range(3), repeat=steps):
        p = INITIAL[path[0]] * np.prod([transition[t][path[t], path[t + 1]] for t in range(steps - 1)])
        seen = [t for t in range(steps) if mask is None or not mask[t]]
        out[path] = p * np.prod([st.norm.pdf(value[t], loc[t][path[t]], SCALE[path[t]]) for t in seen])
    return out


def marginals(joint, steps):
    total = sum(joint.values())
    return np.array([[sum(p for s, p in joint.items() if s[t] == k) / total for k in range(3)] for t in range(steps)])


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_log_prob_marginals_and_mode_match_the_sum_over_paths(steps):
    hmm, value = model(steps), VALUE[:steps]
    joint = paths(value)
    np.testing.assert_allclose(hmm.log_prob(value), np.log(sum(joint.values())), rtol=1e-13)
    np.testing.assert_allclose(hmm.posterior_marginals(value).probs_parameter(), marginals(joint, steps), atol=1e-14)
    np.testing.assert_array_equal(hmm.posterior_mode(value), max(joint, key=joint.__getitem__))


def test_missing_observations_may_be_anything():
    mask = np.array([False, True, False, True])
    joint = paths(VALUE, mask=mask)
    value = jnp.where(mask, jnp.nan, VALUE)
    np.testing.assert_allclose(model().log_prob(value, mask=mask), np.log(sum(joint.values())), rtol=1e-13)
    np.testing.assert_allclose(model(mask=mask).log_prob(value), np.log(sum(joint.values())), rtol=1e-13)
    posterior = model().posterior_marginals(value, mask=mask).probs_parameter()
    np.testing.assert_allclose(posterior, marginals(joint, 4), atol=1e-14)
    assert jnp.all(jnp.isfinite(jax.grad(lambda v: model().log_prob(v, mask=mask))(value)[~mask]))


def test_time_varying_transitions_and_observations():
    transition = np.stack([TRANSITION, TRANSITION[::-1], np.full((3, 3), 1 / 3)])
    hmm = tfd.HiddenMarkovModel(
        tfd.Categorical(probs=INITIAL),
        tfd.Categorical(probs=transition),
        tfd.Normal(LOC + np.arange(4.0)[:, None], SCALE),
        4,
        time_varying_transition_distribution=True,
        time_varying_observation_distribution=True,
    )
    joint = paths(VALUE, transition, loc=LOC + np.arange(4.0)[:, None])
    np.testing.assert_allclose(hmm.log_prob(VALUE), np.log(sum(joint.values())), rtol=1e-13)
    np.testing.assert_allclose(hmm.posterior_marginals(VALUE).probs_parameter(), marginals(joint, 4), atol=1e-14)
    assert hmm.sample(5, seed=KEY).shape == (5, 4) and hmm.mean().shape == (4,)


def test_moments_and_draws():
    hmm = model()
    prior = [INITIAL @ np.linalg.matrix_power(TRANSITION, t) for t in range(4)]
    mean = np.array([p @ LOC for p in prior])
    variance = np.array([p @ (SCALE**2 + LOC**2) for p in prior]) - mean**2
    np.testing.assert_allclose(hmm.prior_marginals().probs_parameter(), prior, atol=1e-15)
    np.testing.assert_allclose(hmm.mean(), mean, atol=1e-14)
    np.testing.assert_allclose(hmm.variance(), variance, rtol=1e-13)
    n = 40_000
    draws = hmm.sample(n, seed=KEY)
    # Bounds of six standard errors: four times two comparisons at a false alarm below 1e-6 in all.
    assert jnp.max(jnp.abs(draws.mean(0) - mean) / np.sqrt(variance / n)) < 6
    fourth = jnp.mean((draws - mean) ** 4, axis=0)
    assert jnp.max(jnp.abs(draws.var(0) - variance) / jnp.sqrt((fourth - variance**2) / n)) < 6
    # Neighbours: E[x_0 x_1] from the pairs of states.
    product = np.sum(INITIAL[:, None] * TRANSITION * LOC[:, None] * LOC)
    error = jnp.std(draws[:, 0] * draws[:, 1]) / np.sqrt(n)
    assert abs(jnp.mean(draws[:, 0] * draws[:, 1]) - product) < 6 * error


def test_batches_and_vector_observations():
    hmm = tfd.HiddenMarkovModel(
        tfd.Categorical(probs=np.stack([INITIAL, INITIAL[::-1]])),
        tfd.Categorical(probs=TRANSITION),
        tfd.MultivariateNormalDiag(jnp.arange(12.0).reshape(3, 4), jnp.ones(4)),
        5,
    )
    assert hmm.batch_shape == (2,) and hmm.event_shape == (5, 4)
    draws = hmm.sample((6, 3), seed=KEY)
    assert draws.shape == (6, 3, 2, 5, 4) and hmm.log_prob(draws).shape == (6, 3, 2)
    np.testing.assert_allclose(hmm[1].log_prob(draws[0, 0, 1]), hmm.log_prob(draws)[0, 0, 1], rtol=1e-12)
    assert hmm.posterior_marginals(draws).batch_shape == (6, 3, 2, 5) and hmm.mean().shape == (2, 5, 4)
    assert hmm.posterior_mode(draws).shape == (6, 3, 2, 5)
    assert hmm.log_prob(jnp.zeros((5, 4))).shape == (2,)


def test_hard_zeros_have_finite_gradients_and_impossible_data_density_zero():
    def log_prob(transition):
        return tfd.HiddenMarkovModel(
            tfd.Categorical(probs=INITIAL), tfd.Categorical(probs=transition), tfd.Normal(LOC, SCALE), 4
        ).log_prob(VALUE)

    assert jnp.all(jnp.isfinite(jax.grad(log_prob)(jnp.asarray(TRANSITION))))
    counts = tfd.HiddenMarkovModel(
        tfd.Categorical(probs=[1.0, 0.0]), tfd.Categorical(probs=jnp.eye(2)), tfd.Bernoulli(probs=[0.0, 0.5]), 3
    )
    impossible = jnp.array([0, 1, 0])
    assert counts.log_prob(impossible) == -jnp.inf
    assert jnp.all(counts.posterior_marginals(impossible).logits == -jnp.inf)
    assert counts.sample(seed=KEY).dtype == jnp.int32


def test_long_chains_in_float32_neither_overflow_nor_drift():
    hmm = tfd.HiddenMarkovModel(
        tfd.Categorical(probs=INITIAL.astype(np.float32)),
        tfd.Categorical(probs=TRANSITION.astype(np.float32)),
        tfd.Normal(LOC.astype(np.float32), SCALE.astype(np.float32)),
        2000,
    )
    value = hmm.sample(seed=KEY)
    assert value.dtype == jnp.float32 and hmm.log_prob(value).dtype == jnp.float32
    wide = tfd.HiddenMarkovModel(
        tfd.Categorical(probs=INITIAL), tfd.Categorical(probs=TRANSITION), tfd.Normal(LOC, SCALE), 2000
    )
    np.testing.assert_allclose(hmm.log_prob(value), wide.log_prob(value.astype(float)), rtol=2e-6)


@pytest.mark.parametrize(
    "transition, observation, words",
    [
        (tfd.Categorical(probs=np.full((2, 3), 1 / 3)), tfd.Normal(LOC, SCALE), ["transition", "3 categories", "(2,)"]),
        (tfd.Categorical(probs=TRANSITION), tfd.Normal(LOC[:2], SCALE[:2]), ["observation", "(2,)"]),
    ],
)
def test_numbers_of_states_that_disagree_are_named(transition, observation, words):
    with pytest.raises(ValueError) as caught:
        tfd.HiddenMarkovModel(tfd.Categorical(probs=INITIAL), transition, observation, 4)
    for word in ["HiddenMarkovModel", *words]:
        assert word in str(caught.value)


def chain(initial, transition, observation, num_steps, by="probs", dtype=jnp.float64):
    """A model whose probabilities, or logits, are given."""
    first, rows = (tfd.Categorical(**{k: jnp.asarray(v, dtype)}) for k, v in (("probs", initial), (by, transition)))
    return tfd.HiddenMarkovModel(first, rows, observation, num_steps)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_hard_zeros_and_far_observations_do_not_underflow(dtype):
    def normal(loc):
        return tfd.Normal(jnp.asarray(loc, dtype), dtype(1))

    forward = chain([1.0, 0, 0], [[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1]], normal([0, 10, 40]), 4, dtype=dtype)
    seen = jnp.asarray([0, 40, 40, 40], dtype)
    # The only paths that count go over state 1, from which 40 is 30 standard deviations away.
    expected = st.norm.logpdf(0) * 3 + st.norm.logpdf(30) + 2 * np.log(0.5)
    rtol = 1e-6 if dtype == jnp.float32 else 1e-13
    np.testing.assert_allclose(forward.log_prob(seen), expected, rtol=rtol)
    np.testing.assert_array_equal(np.argmax(forward.posterior_marginals(seen).logits, -1), [0, 1, 2, 2])
    np.testing.assert_array_equal(forward.posterior_mode(seen), [0, 1, 2, 2])

    still = chain([1.0, 0], np.eye(2), normal([0, 60]), 3, dtype=dtype)
    seen = jnp.asarray([0, 60, 60], dtype)
    expected = st.norm.logpdf(0) + 2 * st.norm.logpdf(60)
    np.testing.assert_allclose(still.log_prob(seen), expected, rtol=rtol)

    far = chain([1.0, 0], [[0.0, -200], [-200, 0]], normal([0, 100]), 2, "logits", dtype)
    seen = jnp.asarray([0, 100], dtype)
    np.testing.assert_allclose(far.log_prob(seen), 2 * st.norm.logpdf(0) - 200, rtol=rtol)
    np.testing.assert_array_equal(far.posterior_mode(seen), [0, 1])
    slope = jax.grad(
        lambda loc: chain([1.0, 0], np.eye(2), normal(loc), 1, dtype=dtype).log_prob(jnp.full(1, dtype(30)))
    )
    np.testing.assert_allclose(slope(jnp.asarray([0, 30], dtype)), [30, 0], rtol=1e-6)


def test_unlikely_states_have_finite_posterior_logits():
    hmm = chain([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], tfd.Normal(jnp.array([0.0, 40]), 1.0), 2)
    logits = hmm.posterior_marginals(jnp.array([0.0, 40.0])).logits
    # To be in the other state costs 800, and one transition less or more.
    expected = [-800 - np.log(0.1) + np.log(0.9), -800 - np.log(0.1) + np.log(0.9)]
    np.testing.assert_allclose([logits[0, 1], logits[1, 0]], expected, rtol=1e-12)


def test_the_support_is_the_union_over_states():
    uniform = tfd.Uniform(jnp.array([0.0, 5]), jnp.array([1.0, 7]))
    hmm = chain([0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]], uniform, 2)
    np.testing.assert_allclose(hmm.log_prob(jnp.array([0.5, 5.5])), np.log(0.5 * 0.1 * 0.5), rtol=1e-13)
    assert np.all(np.isfinite(hmm.log_prob(hmm.sample(2000, seed=KEY))))
    assert hmm.log_prob(jnp.array([0.5, 3.0])) == -np.inf
    for observation in (
        tfd.Binomial(jnp.array([2.0, 10.0]), probs=jnp.array([0.5, 0.5])),
        tfd.HalfCauchy(jnp.array([3.0, 0.0]), 1.0),
    ):
        hmm = chain([0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]], observation, 3)
        assert np.all(np.isfinite(hmm.log_prob(hmm.sample(500, seed=KEY))))


def test_derivatives_in_probabilities_that_are_zero():
    """Against differences from the right, of probabilities that are not normalised."""
    seen = jnp.array([0.0, 1.0, 0.0])

    @jax.jit
    def log_prob(initial, transition):
        return chain(initial, transition, tfd.Normal(jnp.array([0.0, 1.0]), 1.0), 3).log_prob(seen)

    initial, transition = jnp.array([1.0, 0.0]), jnp.eye(2)
    got = jax.jit(jax.grad(log_prob, (0, 1)))(initial, transition)
    base, h = log_prob(initial, transition), 1e-6
    for i in range(2):
        np.testing.assert_allclose(got[0][i], (log_prob(initial.at[i].add(h), transition) - base) / h, atol=1e-5)
        for j in range(2):
            moved = transition.at[i, j].add(h)
            np.testing.assert_allclose(got[1][i, j], (log_prob(initial, moved) - base) / h, atol=1e-5)


def test_two_states_of_bernoulli_distributions():
    normal, value = tfd.Normal(np.array([0.0, 2.0]), 1.0), np.array([0.3, 1.9, -0.5])
    start, rows = 0.3, np.array([0.2, 0.6])
    h = tfd.HiddenMarkovModel(tfd.Bernoulli(probs=start), tfd.Bernoulli(probs=rows), normal, 3)
    matrix, total = np.stack([1 - rows, rows], axis=-1), 0.0
    for path in itertools.product(range(2), repeat=3):
        p = [1 - start, start][path[0]] * matrix[path[0], path[1]] * matrix[path[1], path[2]]
        total += p * np.prod(st.norm.pdf(value, 2.0 * np.array(path)))
    np.testing.assert_allclose(h.log_prob(value), np.log(total), rtol=1e-13)
    assert h.num_states == 2 and h.sample(4, seed=KEY).shape == (4, 3)
