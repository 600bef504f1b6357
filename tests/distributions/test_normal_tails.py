"""The log of the normal distribution function against mpmath, far into the tail."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from distrax_like.special import log_ndtr


@pytest.mark.parametrize("dtype, ulps", [(np.float32, 16), (np.float64, 64)])
def test_log_ndtr_and_its_slope_in_the_lower_tail(dtype, ulps):
    # Densely around -13, where JAX's float32 erfcx is zero.
    x = np.concatenate([-np.geomspace(0.5, 1e4, 120), np.linspace(-14, -11, 500)]).astype(np.float32)
    with mp.workdps(30):
        y = [-mp.mpf(float(v)) / mp.sqrt(2) for v in x]
        value = [mp.log(mp.erfc(v) / 2) for v in y]
        slope = [mp.sqrt(2 / mp.pi) * mp.exp(-v * v) / mp.erfc(v) for v in y]
        got = jax.vmap(jax.value_and_grad(log_ndtr))(jnp.asarray(x, dtype))
        for numbers, truth in zip(got, (value, slope)):
            assert numbers.dtype == dtype
            errors = [abs(mp.mpf(float(a)) - b) / np.spacing(dtype(abs(b))) for a, b in zip(numbers, truth)]
            assert max(errors) <= ulps, (float(max(errors)), x[int(np.argmax([float(e) for e in errors]))])
