"""The driver: containers, chains, keys, resuming, executions, errors, densities that misbehave."""

from collections import namedtuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like.inference import mcmc
from distrax_like.inference.mcmc._run import EXECUTIONS

KEY = jax.random.key(0)


def normal(x):
    return -0.5 * jnp.sum(x**2, axis=-1)


def nuts(target=normal, step_size=0.4, depth=5):
    return mcmc.NoUTurnSampler(target, step_size, max_tree_depth=depth)


def hmc(target=normal, step_size=0.4, num=4):
    return mcmc.HamiltonianMonteCarlo(target, step_size, num)


def same(a, b, **tolerance):
    jax.tree_util.tree_map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def identical(a, b):
    jax.tree_util.tree_map(np.testing.assert_array_equal, a, b)


def test_the_tutorial():
    def run_chain(key, state):
        return mcmc.sample_chain(
            1000,
            current_state=state,
            kernel=mcmc.NoUTurnSampler(normal, 1e-1),
            trace_fn=lambda _, results: results.target_log_prob,
            seed=key,
        )

    states, log_probs = jax.jit(run_chain)(jax.random.PRNGKey(0), jnp.zeros(2))
    assert states.shape == (1000, 2) and log_probs.shape == (1000,)
    np.testing.assert_allclose(log_probs, normal(states), rtol=1e-10, atol=1e-10)
    many, many_log_probs = jax.jit(run_chain)(jax.random.PRNGKey(0), jnp.zeros([10, 2]))
    assert many.shape == (1000, 10, 2) and many_log_probs.shape == (1000, 10)
    # A chain does not depend on its neighbours.
    np.testing.assert_allclose(many[:, 0], states, rtol=0, atol=1e-10)
    # 10 x 1000 draws: five standard errors with an autocorrelation time well under 8.
    np.testing.assert_allclose(np.mean(many, axis=(0, 1)), 0, atol=5 * np.sqrt(8 / 10_000))
    np.testing.assert_allclose(np.mean(np.square(many), axis=(0, 1)), 1, atol=5 * np.sqrt(2 * 8 / 10_000))


def test_a_correlated_gaussian():
    covariance = np.array([[1.0, 0.9, 0.2], [0.9, 1.2, 0.0], [0.2, 0.0, 4.0]])
    precision = jnp.asarray(np.linalg.inv(covariance))

    def target(x):
        return -0.5 * jnp.sum((x @ precision) * x, axis=-1)

    states, info = mcmc.sample_chain(
        1500, jnp.zeros((8, 3)), kernel=nuts(target, 0.3, 6), num_burnin_steps=50, seed=jax.random.key(3)
    )
    draws = states.reshape(-1, 3)
    np.testing.assert_allclose(np.mean(draws, axis=0), 0, atol=0.15)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.25)
    assert info.is_accepted.shape == (1500, 8) and not np.any(info.has_divergence)


Pair = namedtuple("Pair", ["a", "b"])


class Module(eqx.Module):
    a: jax.Array
    b: jax.Array


def pair_target(a, b):
    return -0.5 * a**2 - 0.5 * jnp.sum(b**2, axis=(-2, -1))


@pytest.mark.parametrize(
    ("target", "make"),
    [
        (pair_target, lambda a, b: (a, b)),
        (pair_target, lambda a, b: [a, b]),
        (pair_target, Pair),
        (lambda s: pair_target(s["a"], s["b"]), lambda a, b: {"a": a, "b": b}),
        (lambda s: pair_target(s.a, s.b), Module),
    ],
)
def test_containers(target, make):
    state = make(jnp.zeros((2, 3)), jnp.zeros((2, 3, 2, 2)))
    states, info = mcmc.sample_chain(3, state, kernel=hmc(target, num=2), seed=KEY)
    assert type(states) is type(state)
    assert [x.shape for x in jax.tree_util.tree_leaves(states)] == [(3, 2, 3), (3, 2, 3, 2, 2)]
    assert info.energy.shape == (3, 2, 3)
    # Every container gives the same numbers.
    reference = mcmc.sample_chain(
        3, (jnp.zeros((2, 3)), jnp.zeros((2, 3, 2, 2))), kernel=hmc(pair_target, num=2), seed=KEY
    )
    same(jax.tree_util.tree_leaves(states), list(reference.all_states), rtol=1e-12)


def test_burn_in_and_thinning():
    kernel = hmc()
    every = mcmc.sample_chain(40, jnp.zeros(2), kernel=kernel, seed=KEY)
    thinned = mcmc.sample_chain(
        10, jnp.zeros(2), kernel=kernel, num_burnin_steps=7, num_steps_between_results=2, seed=KEY
    )
    identical(thinned, jax.tree_util.tree_map(lambda x: x[7 : 7 + 28 : 3], every))
    late = mcmc.sample_chain(10, jnp.zeros(2), kernel=kernel, num_burnin_steps=30, seed=KEY)
    identical(late, jax.tree_util.tree_map(lambda x: x[30:], every))
    none = mcmc.sample_chain(
        0, jnp.zeros(2), kernel=kernel, num_burnin_steps=30, seed=KEY, return_final_kernel_results=True
    )
    assert none.all_states.shape == (0, 2) and none.trace.energy.shape == (0,)
    identical(none.final_kernel_results.state.position, every.all_states[29])
    empty = mcmc.sample_chain(0, jnp.zeros(2), kernel=kernel, seed=KEY)
    assert empty.all_states.shape == (0, 2)


@pytest.mark.parametrize("chains", [(), (3,)])
def test_resuming_and_chunking_change_nothing(chains):
    kernel = mcmc.DualAveragingStepSizeAdaptation(nuts(depth=4), 60)
    start = jnp.full((*chains, 2), 0.5)

    def run(num, start, previous=None, burnin=0, between=1):
        return mcmc.sample_chain(
            num, start, previous, kernel, burnin, between, return_final_kernel_results=True, seed=KEY
        )

    # More than the 128 rows of a chunk, burn-in longer than one, and the adaptation ends in between.
    straight = run(300, start, burnin=150)
    parts, state, previous, burnin = [], start, None, 150
    for num in (1, 129, 0, 170):
        part = run(num, state, previous, burnin)
        parts.append(part)
        previous, burnin = part.final_kernel_results, 0
        state = previous.state.position
    identical(straight.final_kernel_results, previous)
    joined = jax.tree_util.tree_map(lambda *x: np.concatenate(x), *[(p.all_states, p.trace) for p in parts])
    identical((straight.all_states, straight.trace), joined)
    assert previous.num_transitions == 150 + 1 + 299 * 2
    # The scan of a traced call makes the same decisions.
    if chains:
        traced = jax.jit(run, static_argnums=(0, 3))(300, start, None, 150)
        same(traced.all_states, straight.all_states, rtol=0, atol=1e-10)
        identical(traced.trace.leapfrogs_taken, straight.trace.leapfrogs_taken)
    with pytest.raises(ValueError, match="current_state is not the last state of the run"):
        run(1, start, previous)
    with pytest.raises(ValueError, match="current_state has parts of shapes"):
        run(1, jnp.zeros((4, 2)), previous)
    with pytest.raises(TypeError, match="sample_chain: previous_kernel_results must be a KernelResults, got Hamilton"):
        run(1, start, nuts().init(jnp.zeros(2)))


def test_what_is_returned():
    state = jnp.zeros(2)
    plain = mcmc.sample_chain(2, state, kernel=hmc(), seed=KEY)
    assert isinstance(plain, mcmc.StatesAndTrace) and isinstance(plain.trace, mcmc.HamiltonianInfo)
    assert plain._fields == ("all_states", "trace")
    alone = mcmc.sample_chain(2, state, kernel=hmc(), seed=KEY, trace_fn=None)
    identical(alone, plain.all_states)
    full = mcmc.sample_chain(2, state, kernel=hmc(), seed=KEY, trace_fn=None, return_final_kernel_results=True)
    assert full._fields == ("all_states", "trace", "final_kernel_results") and full.trace == ()
    # trace_fn sees all chains of one draw.
    chains = mcmc.sample_chain(
        5,
        jnp.zeros((4, 2)),
        kernel=hmc(),
        seed=KEY,
        trace_fn=lambda s, info: {"m": jnp.mean(s, 0), "n": jnp.sum(info.energy)},
    )
    same(chains.trace["m"], jnp.mean(chains.all_states, 1))
    assert chains.trace["n"].shape == (5,)


def test_executions_agree():
    start = jax.random.normal(KEY, (2, 3, 2))
    kernel = mcmc.DualAveragingStepSizeAdaptation(nuts(), 20)
    runs = [mcmc.sample_chain(40, start, kernel=kernel, seed=KEY, execution=e) for e in (*EXECUTIONS, None)]
    for other in runs[1:]:
        same(runs[0], other, rtol=0, atol=1e-10)
        identical(runs[0].trace.leapfrogs_taken, other.trace.leapfrogs_taken)
    identical(runs[0] if jax.default_backend() == "cpu" else runs[2], runs[3])
    alone = mcmc.sample_chain(40, start[0, 0], kernel=kernel, seed=KEY)
    same(alone, jax.tree_util.tree_map(lambda x: x[:, 0, 0], runs[0]), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="execution must be one of sequential, batched, interleaved, got 'vmap'"):
        mcmc.sample_chain(1, start, kernel=kernel, seed=KEY, execution="vmap")


def test_interleaved_chains_wait_for_none():
    """Ticks are as many as the gradients of the chain that needs most in a chunk; rows, thinning and resuming agree."""
    ticks = []

    class Counting(mcmc.NoUTurnSampler):
        def tick(self, state, work, checkpoints):
            jax.debug.callback(lambda _: ticks.append(1), state.target_log_prob)
            return super().tick(state, work, checkpoints)

    def target(x):
        return -0.5 * jnp.sum(x**2 / jnp.array([0.01, 1.0, 4.0]), axis=-1)

    start = jax.random.normal(KEY, (6, 3))
    run = dict(num_burnin_steps=7, num_steps_between_results=1, seed=KEY)
    sequential = mcmc.sample_chain(30, start, kernel=mcmc.NoUTurnSampler(target, 0.15), execution="sequential", **run)
    interleaved = mcmc.sample_chain(30, start, kernel=Counting(target, 0.15), execution="interleaved", **run)
    same(sequential, interleaved, rtol=0, atol=1e-10)
    every = mcmc.sample_chain(
        7 + 59, start, kernel=mcmc.NoUTurnSampler(target, 0.15), execution="interleaved", seed=KEY
    ).trace.leapfrogs_taken
    jax.effects_barrier()
    # Calls of the compiled program: the burn-in and the rows.
    expected = np.max(np.sum(every[:7], 0)) + np.max(np.sum(every[7:], 0))
    assert len(ticks) == 6 * expected
    assert expected < np.sum(np.max(every, 1))
    with pytest.raises(ValueError, match="HamiltonianMonteCarlo cannot be interleaved"):
        mcmc.sample_chain(1, start, kernel=hmc(), seed=KEY, execution="interleaved")


class PerChain(eqx.Module):
    loc: jax.Array

    def __call__(self, a, b):
        return -0.5 * (a - self.loc) ** 2 - 0.5 * jnp.sum((b - self.loc[..., None]) ** 2, axis=-1)


@pytest.mark.parametrize("make", [hmc, lambda f: mcmc.DualAveragingStepSizeAdaptation(nuts(f), 5)])
def test_a_target_with_parameters_for_each_chain(make):
    loc = jnp.arange(6.0).reshape(2, 3)
    start = (jnp.zeros((2, 3)), jnp.zeros((2, 3, 2)))
    states, info = mcmc.sample_chain(30, start, kernel=make(PerChain(loc)), seed=KEY)
    # The same chains one by one, with the keys they have in the batch.
    key = jax.random.fold_in(KEY, 4)
    kernel = make(PerChain(loc[1, 1]))

    @jax.jit
    def by_hand():
        def body(state, i):
            state, info = kernel.step(state, seed=jax.random.fold_in(key, i))
            return state, (state.position, info)

        return jax.lax.scan(body, kernel.init((jnp.zeros(()), jnp.zeros(2))), jnp.arange(30))[1]

    one = jax.tree_util.tree_map(lambda x: x[:, 1, 1], (states, info))
    same(by_hand(), one, rtol=0, atol=1e-10)


def test_a_target_for_each_chain_is_not_sequential():
    with pytest.raises(ValueError, match=r'execution="sequential" needs a target that is a scalar.*\(3,\)'):
        mcmc.sample_chain(
            1,
            jnp.zeros((3, 2)),
            kernel=hmc(lambda x: normal(x - jnp.arange(3.0)[:, None])),
            seed=KEY,
            execution="sequential",
        )


def test_under_vmap_and_with_traced_parameters():
    starts = jax.random.normal(KEY, (3, 2))
    keys = jax.random.split(KEY, 3)

    def run(start, key, scale):
        # The target closes over a traced number, which the host's loop could not hold.
        return mcmc.sample_chain(10, start, kernel=hmc(lambda x: normal(x / scale)), seed=key)

    mapped = jax.vmap(run, in_axes=(0, 0, None))(starts, keys, 2.0)
    assert mapped.all_states.shape == (3, 10, 2)
    one = run(starts[1], keys[1], 2.0)
    same(one, jax.tree_util.tree_map(lambda x: x[1], mapped), rtol=0, atol=1e-10)
    start, key = starts[1], keys[1]
    same(jax.jit(lambda scale: run(start, key, scale))(2.0), one, rtol=0, atol=1e-10)
    batched = jax.jit(jax.vmap(lambda s: run(s, KEY, jnp.ones((4, 1)))))(jnp.ones((3, 4, 2)))
    assert batched.all_states.shape == (3, 10, 4, 2)


def test_nothing_is_traced_twice():
    count = 0

    def target(x):
        nonlocal count
        count += 1
        return normal(x)

    def run(step_size, num):
        mcmc.sample_chain(
            num, jnp.ones(2), kernel=hmc(target, step_size), seed=KEY, trace_fn=lambda _, info: info.energy
        )
        return count

    run(0.1, 200)
    before = count
    # The shape of the target is looked at anew, but neither another step size nor more results compile again.
    assert run(0.2, 200) == before + 1
    assert run(0.3, 500) == before + 2


def test_widths():
    data = np.linspace(0.0, 1.0, 5)  # float64 data does not widen a float32 chain
    assert data.dtype == np.float64
    kernel = mcmc.DualAveragingStepSizeAdaptation(nuts(lambda x: -0.5 * jnp.sum((x - data) ** 2)), 3)
    states, info = mcmc.sample_chain(5, jnp.zeros(5, jnp.float32), kernel=kernel, seed=KEY)
    assert states.dtype == jnp.float32
    for x in (info.target_log_prob, info.step_size, info.log_accept_ratio, info.energy):
        assert x.dtype == jnp.float32
    assert info.leapfrogs_taken.dtype == jnp.int32 and info.is_accepted.dtype == bool
    mixed = mcmc.sample_chain(2, (np.float32(1), 0), kernel=hmc(lambda a, b: -(a**2) - b**2), seed=KEY).all_states
    assert [x.dtype for x in mixed] == [jnp.float32, jnp.float64]
    assert mcmc.sample_chain(2, 0.5, kernel=hmc(lambda x: -(x**2)), seed=KEY).all_states.shape == (2,)


def test_progress(capsys, monkeypatch):
    plain = mcmc.sample_chain(200, jnp.zeros(2), kernel=hmc(), seed=KEY)
    shown = mcmc.sample_chain(200, jnp.zeros(2), kernel=hmc(), seed=KEY, progress_bar=True)
    identical(plain, shown)
    assert "200/200" in capsys.readouterr().err
    import builtins

    real = builtins.__import__

    def without_tqdm(name, *args, **kwargs):
        if name == "tqdm":
            raise ImportError
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    mcmc.sample_chain(200, jnp.zeros(2), kernel=hmc(), seed=KEY, progress_bar=True)
    assert capsys.readouterr().err.endswith("200/200 transitions\n")


def test_errors():
    state = jnp.zeros(2)
    with pytest.raises(TypeError, match="sample_chain needs a seed"):
        mcmc.sample_chain(1, state, kernel=hmc())
    with pytest.raises(TypeError, match="sample_chain needs a random key as seed"):
        mcmc.sample_chain(1, state, kernel=hmc(), seed=np.arange(3))
    with pytest.raises(TypeError, match="sample_chain needs a kernel.*got None"):
        mcmc.sample_chain(1, state, seed=KEY)
    with pytest.raises(ValueError, match="num_results must not be negative, got -1"):
        mcmc.sample_chain(-1, state, kernel=hmc(), seed=KEY)
    with pytest.raises(TypeError, match="num_burnin_steps"):
        mcmc.sample_chain(1, state, kernel=hmc(), seed=KEY, num_burnin_steps=2.5)
    with pytest.raises(ValueError, match=r"target has shape \(4,\) at current_state.*part \[1\] has shape \(2, 4\)"):
        mcmc.sample_chain(
            1, (jnp.zeros((4, 2)), jnp.zeros((2, 4))), kernel=hmc(lambda a, b: normal(a) + jnp.sum(b)), seed=KEY
        )
    with pytest.raises(TypeError, match=r"state part \['w'\] must be an array of real numbers, got .*complex128"):
        mcmc.sample_chain(1, {"w": jnp.zeros(2) * 1j}, kernel=hmc(lambda s: 0.0), seed=KEY)
    with pytest.raises(TypeError, match=r"state part \[1\] must be an array of real numbers, got 'x'"):
        mcmc.sample_chain(1, (1.0, "x"), kernel=hmc(lambda a, b: 0.0), seed=KEY)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda a, b: jnp.log(a) + normal(b), r"the target is -inf at current_state, a point outside its support"),
        (lambda a, b: jnp.log(a - 1) + normal(b), "the target is NaN at current_state"),
        (lambda a, b: -jnp.log(a) + normal(b), r"the target is \+inf at current_state"),
        (lambda a, b: normal(b) - jnp.sqrt(a), r"the target with respect to state part \[0\] is not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # jax prints the traceback of a failed callback
def test_a_start_that_is_not_finite(target, message):
    with pytest.raises(ValueError, match=message):
        mcmc.sample_chain(1, (0.0, jnp.zeros(2)), kernel=hmc(target), seed=KEY)
    with pytest.raises(ValueError, match=message + ".* of chain 1"):
        mcmc.sample_chain(1, (jnp.array([1.5, 0.0]), jnp.zeros((2, 2))), kernel=hmc(target), seed=KEY)
    run = eqx.filter_jit(lambda a: mcmc.sample_chain(1, (a, jnp.zeros(2)), kernel=hmc(target), seed=KEY))
    with pytest.raises(Exception, match=message):
        jax.block_until_ready(run(jnp.asarray(0.0)))
