"""Hidden Markov models."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from distrax_like import random, supports
from distrax_like._misc import Event, Numeric, Real, Shape
from distrax_like._module import data, submodule
from distrax_like.supports import Support

from ._bernoulli import Bernoulli
from ._categorical import Categorical
from ._distribution import Distribution
from ._logits import as_single, log_product, log_sigmoid, log_softmax, log_sum_of_products
from ._mixture import union


def _as_categorical(d: Any) -> Any:
    """A Bernoulli distribution as one of two categories; all others as they are."""
    if not isinstance(d, Bernoulli):
        return d
    return Categorical(jnp.stack([log_sigmoid(-d.logits), log_sigmoid(d.logits)], axis=-1), dtype=d.dtype)


class HiddenMarkovModel(Distribution):
    """A Markov chain of hidden states with an observation at each of `num_steps` steps.

    The first observation belongs to the first state. All recursions work with logarithms: neither an observation far
    from every state that can be reached nor a transition of probability exp(-1000) underflows.

    **Arguments:**

    - `initial_distribution`: a Categorical over k states; for two states also a Bernoulli, here and below.
    - `transition_distribution`: a Categorical of batch shape `batch + (k,)`, one row for each state left.
    - `observation_distribution`: any distribution of batch shape `batch + (k,)`.
    - `num_steps`: the number of steps T.
    - `time_varying_transition_distribution`: the transitions have a further batch dimension of length T - 1 before k.
    - `time_varying_observation_distribution`: the observations have a further batch dimension of length T before k.
    - `mask`: of shape `(…, T)`, True where an observation is missing.

    **Raises:** `ValueError` where the numbers of states or steps disagree.
    """

    num_steps: int = eqx.field(static=True)
    initial_distribution: Categorical = submodule()
    transition_distribution: Categorical = submodule(lambda self: 1 + self.time_varying_transition_distribution)
    observation_distribution: Distribution = submodule(lambda self: 1 + self.time_varying_observation_distribution)
    time_varying_transition_distribution: bool = eqx.field(static=True, default=False)
    time_varying_observation_distribution: bool = eqx.field(static=True, default=False)
    mask: Bool[Array, "*#batch t"] | None = data(default=None)

    def __init__(
        self,
        initial_distribution: Categorical | Bernoulli,
        transition_distribution: Categorical | Bernoulli,
        observation_distribution: Distribution,
        num_steps: int,
        time_varying_transition_distribution: bool = False,
        time_varying_observation_distribution: bool = False,
        mask: Any = None,
    ):
        self.initial_distribution = _as_categorical(initial_distribution)
        self.transition_distribution = _as_categorical(transition_distribution)
        self.observation_distribution = observation_distribution
        self.num_steps = num_steps
        self.time_varying_transition_distribution = time_varying_transition_distribution
        self.time_varying_observation_distribution = time_varying_observation_distribution
        self.mask = None if mask is None else jnp.asarray(mask, bool)

    def __check_init__(self):
        k, t = self.num_states, self.num_steps
        if t < 1:
            raise ValueError(f"HiddenMarkovModel: num_steps must be at least 1, got {t}")
        transition, observation = self.transition_distribution, self.observation_distribution
        wanted = ((t - 1,) if self.time_varying_transition_distribution else ()) + (k,)
        if transition.batch_shape[-len(wanted) :] != wanted or transition.num_categories != k:
            raise ValueError(
                f"HiddenMarkovModel: the batch shape of transition_distribution must end in {wanted} and it must have "
                f"{k} categories, like the states of initial_distribution; got batch shape "
                f"{transition.batch_shape} and {transition.num_categories} categories"
            )
        wanted = ((t,) if self.time_varying_observation_distribution else ()) + (k,)
        if observation.batch_shape[-len(wanted) :] != wanted:
            raise ValueError(
                f"HiddenMarkovModel: the batch shape of observation_distribution must end in {wanted}, "
                f"got {observation.batch_shape}"
            )
        if self.mask is not None and self.mask.shape[-1:] != (t,):
            raise ValueError(f"HiddenMarkovModel: mask must end in {t} steps, got shape {self.mask.shape}")

    @property
    def num_states(self) -> int:
        """The number of hidden states k."""
        return self.initial_distribution.num_categories

    @property
    def dtype(self) -> Any:
        return self.observation_distribution.dtype

    @property
    def support(self) -> Support:
        # The union over the states, at every step.
        return supports.independent(union(self._at_steps().support), 1)

    def _event_shape(self) -> Shape:
        return (self.num_steps, *self.observation_distribution.event_shape)

    def _at_steps(self) -> Distribution:
        """The observation distribution with a batch dimension of steps (of length one where they are alike)."""
        observation = self.observation_distribution
        return observation if self.time_varying_observation_distribution else observation[..., None, :]

    def _log_initial(self) -> Float[Array, "*batch k"]:
        return log_softmax(self.initial_distribution.logits)

    def _log_transitions(self) -> Float[Array, "..."]:
        """The logarithms of the transition matrices, time first: shape `(T - 1 or 1,) + batch + (k, k)`."""
        return self._time_first(log_softmax(self.transition_distribution.logits))

    def _time_first(self, matrices: Array) -> Array:
        return jnp.moveaxis(matrices, -3, 0) if self.time_varying_transition_distribution else matrices[None]

    def _known(self, mask: Any) -> Any:
        return self.mask if mask is None else jnp.asarray(mask, bool)

    def _clean(self, value: Event, mask: Any = None, **kwargs: Any) -> Event:
        # A missing value may be anything, NaN included: what stands in for it must have a density.
        mask = self._known(mask)
        if mask is None:
            return value
        missing = mask.reshape(mask.shape + (1,) * len(self.observation_distribution.event_shape))
        return jnp.where(missing, self.support.feasible_like(value), value)

    def _log_likelihoods(self, value: Event, mask: Any) -> Float[Array, "..."]:
        """log p(observation | state) at each step, zero where it is missing: shape `(T,) + sample + batch + (k,)`."""
        event = len(self.observation_distribution.event_shape)
        log_likelihoods = self._at_steps().log_prob(jnp.expand_dims(value, value.ndim - event))
        mask = self._known(mask)
        if mask is not None:
            log_likelihoods = jnp.where(mask[..., None], 0, log_likelihoods)
        shape = jnp.broadcast_shapes(log_likelihoods.shape, (*self.batch_shape, 1, 1))
        return jnp.moveaxis(jnp.broadcast_to(log_likelihoods, shape), -2, 0)

    def _filter(self, value: Event, mask: Any) -> tuple[Array, Array, Array]:
        """The logarithms of the filtered state probabilities, the log likelihoods up to a constant for each step, both
        time first, and the log density."""
        log_likelihoods = self._log_likelihoods(value, mask)
        # What is summed over the steps is small then, and rounds less.
        peak = jax.lax.stop_gradient(jnp.max(log_likelihoods, axis=-1, keepdims=True))
        peak = jnp.where(jnp.isfinite(peak), peak, 0)
        log_likelihoods = log_likelihoods - peak

        # A state is a prediction and what it is multiplied by, since a prediction of zero would lose the latter.
        def condition(predicted: Array, log_likelihood: Array) -> tuple[tuple[Array, Array], Array]:
            total = log_sum_of_products(predicted, log_likelihood)
            # Where no state explains the observation, the density is zero and the states that follow do not matter.
            return (predicted, log_likelihood - jnp.where(total == -jnp.inf, 0, total)[..., None]), total

        def step(state: tuple[Array, Array], inputs: tuple[Array, Array]) -> tuple[Any, Any]:
            transition, log_likelihood = inputs
            state, total = condition(_forward(transition, *state), log_likelihood)
            return state, (state, total)

        first, total = condition(jnp.broadcast_to(self._log_initial(), log_likelihoods[0].shape), log_likelihoods[0])
        _, (states, totals) = self._scan(step, first, log_likelihoods[1:])
        filtered = log_product(*(jnp.concatenate([x[None], xs]) for x, xs in zip(first, states)))
        log_prob = jnp.sum(jnp.concatenate([total[None], totals]), axis=0) + jnp.sum(peak[..., 0], axis=0)
        return filtered, log_likelihoods, log_prob

    def _scan(self, step: Any, first: Any, xs: Any, reverse: bool = False, matrices: Any = None) -> Any:
        """A scan over the transitions between steps, with constant matrices kept out of the scanned arrays.

        **Arguments:** `matrices`: what `step` is given of each transition, time first (by default their logarithms).
        """
        matrices = self._log_transitions() if matrices is None else matrices
        if self.time_varying_transition_distribution:
            return jax.lax.scan(step, first, (matrices, xs), reverse=reverse)
        constant = jax.tree.map(lambda x: x[0], matrices)
        return jax.lax.scan(lambda s, x: step(s, (constant, x)), first, xs, length=self.num_steps - 1, reverse=reverse)

    def _log_prob(self, value: Event, mask: Any = None) -> Real:
        return self._filter(value, mask)[2]

    def posterior_marginals(self, observations: Numeric, mask: Any = None) -> Categorical:
        """The distribution of the state at each step given all observations.

        **Arguments:** `observations`: shape `sample + batch + (T,) + event`; `mask`: True where one is missing.

        **Returns:** a Categorical of batch shape `sample + batch + (T,)`. Given impossible observations its logits are
        minus infinity.
        """
        value = self._clean(self._cast(observations, "posterior_marginals"), mask)
        filtered, log_likelihoods, _ = self._filter(value, mask)

        def step(later: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            transition, log_likelihood = inputs
            earlier = log_sum_of_products(transition, log_likelihood[..., None, :], later[..., None, :])
            top = jnp.max(earlier, axis=-1, keepdims=True)
            earlier = earlier - jnp.where(top == -jnp.inf, 0, top)
            return earlier, earlier

        last = jnp.zeros_like(filtered[-1])
        _, later = self._scan(step, last, log_likelihoods[1:], reverse=True)
        joint = filtered + jnp.concatenate([later, last[None]])
        total = log_sum_of_products(joint)[..., None]
        return Categorical(logits=jnp.moveaxis(joint - jnp.where(total == -jnp.inf, 0, total), 0, -2))

    def posterior_mode(self, observations: Numeric, mask: Any = None) -> Int[Array, "..."]:
        """The most probable sequence of states given all observations, by the algorithm of Viterbi.

        **Returns:** shape `sample + batch + (T,)`.
        """
        value = self._clean(self._cast(observations, "posterior_mode"), mask)
        log_likelihoods = self._log_likelihoods(value, mask)
        first = self._log_initial() + log_likelihoods[0]

        def step(best: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            transition, log_likelihood = inputs
            paths = best[..., :, None] + transition
            return jnp.max(paths, axis=-2) + log_likelihood, jnp.argmax(paths, axis=-2)

        best, back = self._scan(step, first, log_likelihoods[1:])
        last = jnp.argmax(best, axis=-1)

        def follow(state: Array, back: Array) -> tuple[Array, Array]:
            earlier = jnp.take_along_axis(back, state[..., None], axis=-1)[..., 0]
            return earlier, earlier

        _, states = jax.lax.scan(follow, last, back, reverse=True)
        return jnp.moveaxis(jnp.concatenate([states, last[None]]), 0, -1)

    def prior_marginals(self) -> Categorical:
        """The distribution of the state at each step before any observation: batch shape `batch + (T,)`."""
        return Categorical(logits=self._log_prior())

    def _log_prior(self) -> Float[Array, "..."]:
        first = self._log_initial()
        first = jnp.broadcast_to(first, self.batch_shape + (self.num_states,))

        def step(state: Array, inputs: tuple[Array, Any]) -> tuple[Array, Array]:
            state = _forward(inputs[0], state)
            return state, state

        _, states = self._scan(step, first, None)
        return jnp.moveaxis(jnp.concatenate([first[None], states]), 0, -2)

    def _prior(self) -> Float[Array, "..."]:
        """The prior state probabilities, for moments, to which those that underflow add nothing."""
        first = jnp.broadcast_to(self.initial_distribution.probs_parameter(), (*self.batch_shape, self.num_states))

        def step(state: Array, inputs: tuple[Array, Any]) -> tuple[Array, Array]:
            # A product written out: in the body of a scan XLA fuses it, where a call to a matrix product takes longer.
            state = jnp.sum(state[..., :, None] * inputs[0], axis=-2)
            return state, state

        matrices = self._time_first(self.transition_distribution.probs_parameter())
        _, states = self._scan(step, first, None, matrices=matrices)
        return jnp.moveaxis(jnp.concatenate([first[None], states]), 0, -2)

    def _average(self, x: Real) -> Real:
        """The mean over states, weighted by their prior probabilities, of `batch + (T or 1, k) + event`."""
        event = len(self.observation_distribution.event_shape)
        weights = self._prior()
        return jnp.sum(weights.reshape(weights.shape + (1,) * event) * x, axis=-1 - event)

    def _mean(self) -> Real:
        return self._average(self._at_steps().mean())

    def _variance(self) -> Real:
        observation, mean = self._at_steps(), self._mean()
        event = len(self.observation_distribution.event_shape)
        between = observation.mean() - jnp.expand_dims(mean, mean.ndim - event)
        return self._average(observation.variance() + between**2)

    def _sample_states(self, key: PRNGKeyArray, shape: Shape) -> Int[Array, "..."]:
        """Sequences of states, of shape `shape + (T,)`."""
        first_key, key = jax.random.split(key)
        first = self.initial_distribution.broadcast_to(self.batch_shape)._sample(first_key, shape)
        # Sorted once, not at every step.
        table = random.categorical_table(as_single(self._log_transitions()))
        uniforms = random.fine_uniform(key, (self.num_steps - 1, *shape), table[0].dtype)

        def step(state: Array, inputs: tuple[tuple[Array, Array], Array]) -> tuple[Array, Array]:
            rows, u = inputs
            full = (jnp.broadcast_to(x, shape + x.shape[-2:]) for x in rows)
            row, order = (jnp.take_along_axis(x, state[..., None, None], axis=-2)[..., 0, :] for x in full)
            state = random.categorical_choice((row, order), u).astype(state.dtype)
            return state, state

        _, states = self._scan(step, first, uniforms, matrices=table)
        return jnp.moveaxis(jnp.concatenate([first[None], states]), 0, -1)

    def _sample(self, key: PRNGKeyArray, shape: Shape) -> Event:
        state_key, key = jax.random.split(key)
        states = self._sample_states(state_key, shape)
        observation = self._at_steps()
        observation = observation.broadcast_to(observation.batch_shape)

        def choose(x: Array, ndims: int) -> Array:
            # The parameters of the chosen state only: `shape + (T,)` of them, each with its own dimensions.
            full = jnp.broadcast_to(x, shape + x.shape[x.ndim - ndims - 2 :]) if x.ndim - ndims > 2 else x
            index = states.reshape(states.shape + (1,) * (ndims + 1))
            full = full.reshape((1,) * (index.ndim - full.ndim) + full.shape)
            return jnp.squeeze(jnp.take_along_axis(full, index, axis=len(shape) + 1), len(shape) + 1)

        return observation._map_batch(choose)._sample(key, (*shape, self.num_steps))


def _forward(transition: Float[Array, "... k k"], *state: Float[Array, "... k"]) -> Float[Array, "... k"]:
    """log Σ_i T_ij p_i of logarithms, for a state p that is a product."""
    return log_sum_of_products(jnp.swapaxes(transition, -2, -1), *(x[..., None, :] for x in state))
