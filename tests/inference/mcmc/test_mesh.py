"""Chains and data split over 8 devices, of one process and of two: the same draws."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from distrax_like.inference import mcmc

pytestmark = pytest.mark.xdist_group("mesh")


def start(*args):
    # No other flags of this process, such as one for the number of devices.
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, str(Path(__file__).parent / "mesh_run.py"), *map(str, args)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    with socket.socket() as s:
        s.bind(("localhost", 0))
        address = f"localhost:{s.getsockname()[1]}"
    processes = [start(one), start(two, 0, address), start(two, 1, address)]
    try:
        for process in processes:
            out, _ = process.communicate(timeout=600)
            assert process.returncode == 0, out
    finally:
        for process in processes:
            process.kill()
    return one, two


@pytest.mark.parametrize("name", ["interleaved", "data", "resumed"])
def test_one_process(folders, name):
    same(folders[0], folders[0] / f"{name}.npz")


@pytest.mark.parametrize("name", ["data", "resumed"])
def test_two_processes(folders, name):
    same(folders[0], folders[1] / f"{name}.npz")


def same(folder, file):
    with np.load(folder / "alone.npz") as alone, np.load(file) as out:
        assert alone["loc"].shape == (12, 8, 3) and len(np.unique(alone["loc"])) > 250
        for part in alone:
            np.testing.assert_allclose(out[part], alone[part], rtol=1e-10, atol=1e-10, err_msg=part)


def test_chains_that_do_not_split(folders):
    error = (folders[0] / "error").read_text()
    assert error == "sample: 6 chains do not split over the 4 devices of the mesh's axis"


def test_a_mesh_without_chains():
    mesh = jax.make_mesh((1,), ("data",))
    with pytest.raises(ValueError, match=r"the mesh needs an axis \"chains\", it has \('data',\)"):
        mcmc.sample(lambda x: -(x**2), 0.0, mesh=mesh, seed=jax.random.key(0))
