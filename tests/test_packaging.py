"""What is built, what is imported, and the switches of the environment."""

import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def python(code, cwd=ROOT, **env):
    """Runs code in a new interpreter, with float32 defaults, and returns what it prints."""
    import os

    full = {k: v for k, v in os.environ.items() if k not in ("JAX_ENABLE_X64", "DISTRAX_LIKE_TYPECHECK")} | env
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=full)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def modules(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*.py") if "__pycache__" not in p.parts}


def expected():
    own = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "distrax_like").rglob("*.py")
        if "__pycache__" not in p.parts and p.relative_to(ROOT).parts[1] not in ("kernels", "inference")
    }
    linked = {f"distrax_like/{room}/{name}" for room in ("kernels", "inference") for name in modules(ROOT / room)}
    return own | linked | {"distrax_like/py.typed"}


def test_links_of_the_checkout_lead_to_the_folders():
    for room in ("kernels", "inference"):
        assert (ROOT / "distrax_like" / room).resolve() == ROOT / room


def test_wheel_and_sdist_hold_the_namespace_and_nothing_else(tmp_path):
    builder = pytest.importorskip("hatchling.builders.wheel")
    source = pytest.importorskip("hatchling.builders.sdist")
    (wheel,) = builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {n for n in names if ".dist-info/" not in n}
    assert inside == expected()
    (sdist,) = source.SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (tree,) = (tmp_path / "unpacked").iterdir()
    assert modules(tree / "kernels") == modules(ROOT / "kernels")
    assert modules(tree / "inference") == modules(ROOT / "inference")
    assert not (tree / "distrax_like" / "kernels").exists()
    (again,) = builder.WheelBuilder(str(tree)).build(directory=str(tmp_path / "again"), versions=["standard"])
    assert set(zipfile.ZipFile(again).namelist()) == names


def test_the_library_imports_from_anywhere_and_the_bare_folders_do_not(tmp_path):
    code = "import distrax_like.kernels, distrax_like.inference; print(distrax_like.kernels.__name__)"
    assert python(code, cwd=tmp_path) == "distrax_like.kernels"
    assert python(code) == "distrax_like.kernels"
    for room in ("kernels", "inference"):
        code = f"try:\n    import {room}\nexcept ImportError as e:\n    print(e)"
        assert python(code) == f"this folder is imported as distrax_like.{room}"


def test_import_is_light():
    code = """
import sys, jax
before = set(sys.modules)
import distrax_like
names = {m.split('.')[0] for m in set(sys.modules) - before}
print(sorted(names & {'optax', 'matplotlib', 'scipy', 'tqdm', 'sklearn', 'beartype', 'chex'}))
from jax._src import xla_bridge
print(xla_bridge.backends_are_initialized())
distrax_like.inference
print('optax' in sys.modules)
"""
    assert python(code).splitlines() == ["[]", "False", "True"]


def test_the_environment_switches_run_time_checking_on():
    code = """
from distrax_like import supports
try:
    supports.real.contains('a')
except Exception as e:
    print(type(e).__name__)
"""
    assert python(code, DISTRAX_LIKE_TYPECHECK="1") == "TypeCheckError"
    assert python(code, DISTRAX_LIKE_TYPECHECK="0") == "TypeError"


def test_defaults_are_float32_without_x64():
    code = """
import warnings; warnings.simplefilter('error')
import jax, jax.numpy as jnp
from jax import random
import distrax_like as dl
from distrax_like import distributions as tfd, bijectors as tfb, kernels as tfpk, inference as tfp
key = random.PRNGKey(0)
for d in [tfd.Normal(0, 1), tfd.Gamma(2, 1), tfd.Beta(2., 3.), tfd.Dirichlet([1, 2, 3]), tfd.StudentT(3, 0, 1),
          tfd.Poisson(2), tfd.Uniform(), tfd.HalfCauchy(0, 1), tfd.Binomial(5, probs=0.3),
          tfd.MultivariateNormalTriL([0, 0], [[1, 0], [0, 1]])]:
    x = d.sample(3, seed=key)
    assert x.dtype == d.log_prob(x).dtype == jnp.float32, d
    assert not d.log_prob(x).weak_type
assert tfd.Bernoulli(probs=0.5).sample(3, seed=key).dtype == jnp.int32
assert tfd.Categorical(probs=[1, 1]).logits.dtype == jnp.float32
assert tfb.Softplus().forward(1).dtype == tfpk.MaternOneHalf(2, 3).matrix(jnp.ones((2, 1))).dtype == jnp.float32
states, info = tfp.mcmc.sample_chain(3, jnp.zeros(2), kernel=tfp.mcmc.HamiltonianMonteCarlo(
    tfd.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)).log_prob, 0.1, 3), seed=key)
assert states.dtype == info.target_log_prob.dtype == jnp.float32
free = dl.unconstrain(tfd.Gamma(2.0, 3.0))
assert dl.constrain(free).rate.dtype == jnp.float32
print('ok')
"""
    assert python(code) == "ok"
