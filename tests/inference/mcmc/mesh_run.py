"""Runs on 8 devices, in one process or two: `python mesh_run.py folder [process address]`; draws go into the folder."""

import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 8 if len(sys.argv) == 2 else 4)
if len(sys.argv) > 2:
    jax.distributed.initialize(sys.argv[3], num_processes=2, process_id=int(sys.argv[2]))

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import NamedSharding, PartitionSpec  # noqa: E402

from distrax_like import distributions as dl  # noqa: E402
from distrax_like.inference import mcmc  # noqa: E402

folder, process = sys.argv[1], jax.process_index()
y = np.random.default_rng(0).standard_normal((6, 3)) + 2


def model():
    loc = yield "loc", dl.Sample(dl.Normal(0.0, 5.0), 3)
    scale = yield "scale", dl.HalfNormal(2.0)
    yield "y", dl.Sample(dl.Independent(dl.Normal(loc, scale), 1), 6)


def run(y, execution, mesh, **more):
    pinned = dl.JointDistributionCoroutine(model).pin(y=y)
    return mcmc.sample(
        pinned,
        num_samples=12,
        num_warmup=40,
        num_chains=8,
        execution=execution,
        mesh=mesh,
        seed=jax.random.key(0),
        **more,
    )


def save(name, samples):
    if process == 0:
        np.savez(f"{folder}/{name}.npz", loc=samples.draws.loc, scale=samples.draws.scale, **samples.sample_stats)


mesh = jax.make_mesh((4, 2), ("chains", "data"))
spread = jax.make_array_from_callback(
    y.shape, NamedSharding(mesh, PartitionSpec("data")), lambda index: jnp.asarray(y[index])
)
save("data", run(spread, None, mesh, checkpoint=f"{folder}/checkpoint"))
save("resumed", run(spread, None, mesh, checkpoint=f"{folder}/checkpoint"))
if len(sys.argv) == 2:
    save("alone", run(y, "sequential", None))
    save("interleaved", run(y, "interleaved", jax.make_mesh((8,), ("chains",))))
    try:
        mcmc.sample(lambda x: -(x**2), 0.0, num_chains=6, mesh=mesh, seed=jax.random.key(0))
    except ValueError as error:
        Path(folder, "error").write_text(str(error))
