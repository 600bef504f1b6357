"""Checkpoints: a killed run goes on bit for bit; a folder belongs to one run; what is damaged is named."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distrax_like import distributions as dl
from distrax_like.inference import mcmc
from distrax_like.inference.mcmc import _chains, _checkpoint, _identity

KEY = jax.random.key(0)
FOLDER = os.path.dirname(__file__)


def pinned(y=(0.0, 0.1, -0.1), scale=1.0):
    def model():
        m = yield "m", dl.Normal(0.0, scale)
        yield "y", dl.Sample(dl.Normal(m, 1.0), 3)

    return dl.JointDistributionCoroutine(model).pin(y=jnp.asarray(y))


# One object, so that it is compiled once.
PINNED = pinned()


def run(folder, target=PINNED, num_samples=400, **more):
    """A run of a eighty pieces."""
    more = {"num_warmup": 100, "num_chains": 2, "seed": KEY} | more
    return mcmc.sample(target, num_samples=num_samples, checkpoint=folder, **more)


def identical(a, b):
    jax.tree_util.tree_map(np.testing.assert_array_equal, (a.draws, a.sample_stats), (b.draws, b.sample_stats))


@pytest.fixture(scope="module", autouse=True)
def five_rows_a_call():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_chains, "_BYTES_PER_CALL", 3 * 2 * 8 * 5)
        yield


@pytest.fixture(scope="module")
def straight():
    return mcmc.sample(PINNED, num_samples=400, num_warmup=100, num_chains=2, seed=KEY)


@pytest.fixture(scope="module")
def complete(tmp_path_factory, straight):
    folder = tmp_path_factory.mktemp("runs") / "complete"
    identical(run(folder), straight)
    return folder


@pytest.fixture
def copy(tmp_path, complete):
    return shutil.copytree(complete, tmp_path / "copy")


SCRIPT = """
import sys, jax
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, {tests!r})
import test_checkpoint as t
t._chains._BYTES_PER_CALL = 3 * 2 * 8 * 5
t.run(sys.argv[1])
"""


def test_a_killed_run_goes_on(tmp_path, straight):
    folder = tmp_path / "run"
    wanted = folder / "draws-000010.npz"
    with subprocess.Popen([sys.executable, "-c", SCRIPT.format(tests=FOLDER), str(folder)]) as process:
        while not wanted.exists():
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert len(list(folder.glob("draws-*.npz"))) < 80
    resumed = run(folder)
    identical(resumed, straight)
    assert resumed.kernel.step_size == straight.kernel.step_size


def test_a_folder_in_use(copy):
    # A lock excludes another one of the same process as it does that of another process.
    with open(copy / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="the checkpoint .* is in use by another run"):
            run(copy)


def test_a_complete_folder(copy, straight, monkeypatch):
    calls = []
    monkeypatch.setattr(_chains.HostLoop, "__call__", lambda *args: calls.append(args))
    identical(run(copy), straight)
    assert not calls  # Nothing has been compiled.
    monkeypatch.undo()
    more = run(copy, num_samples=450)
    jax.tree_util.tree_map(lambda x, y: np.testing.assert_array_equal(x[:400], y), more.draws, straight.draws)
    longer = mcmc.sample(PINNED, num_samples=450, num_warmup=100, num_chains=2, seed=KEY)
    identical(more, longer)
    with pytest.raises(ValueError, match="holds 450 draws of each chain, more than num_samples=400"):
        run(copy)


OTHER_RUNS = {
    r"model data .pinned.pins\['y'\] differs": lambda: {"target": pinned((50.0, 50.0, 50.0))},
    "model density differs": lambda: {"target": pinned(scale=9.0)},
    "init .* differs": lambda: {"init": jnp.zeros(1)},
    "trace_fn is new": lambda: {"trace_fn": lambda draw, info: draw.m},
    r"reducers \['moments'\]": lambda: {"reducers": "moments"},
    "adaptation .*0.9": lambda: {"target_accept_prob": 0.9},
    "kernel program differs": lambda: {"max_tree_depth": 5},
    "num_warmup is 50, was 100; seed differs; thin is 2, was 1": lambda: {
        "num_warmup": 50,
        "thin": 2,
        "seed": jax.random.key(1),
        "init": lambda key: jnp.zeros(1),
    },
    "kernel values .step_size differs": lambda: {"kernel": lambda f: mcmc.NoUTurnSampler(f, 0.5)},
}


@pytest.mark.parametrize("message", OTHER_RUNS)
def test_another_run_is_refused(complete, message):
    with pytest.raises(ValueError, match=f"the checkpoint .* is of another run: .*{message}"):
        run(complete, **OTHER_RUNS[message]())


def test_programs_are_told_apart():
    data = np.arange(3.0)

    def one(scale, data, power=2):
        return lambda x: -jnp.sum((x - data) ** power) / scale

    def same(f, g):
        return _identity.program_hash(f, jnp.zeros(3))[0] == _identity.program_hash(g, jnp.zeros(3))[0]

    f = one(2.0, data)
    assert same(f, one(2.0, data.copy())) and not same(f, one(np.nextafter(2.0, 3), data))
    other = data.copy()
    other[1] = np.nextafter(1.0, 2)
    assert not same(f, one(2.0, other)) and not same(f, one(2.0, data, 4))
    # Constants of inner functions too.
    assert not same(*(jax.jit(one(2.0, jnp.asarray(x))) for x in (data, other)))
    inner = [lambda x, d=d: jax.lax.fori_loop(0, 3, lambda i, s: s + jnp.sum(x * d), 0.0) for d in (data, data, other)]
    assert same(inner[0], inner[1]) and not same(inner[0], inner[2])

    def with_rule(factor):
        f = jax.custom_jvp(lambda x: jnp.sum(x))
        f.defjvp(lambda primals, tangents: (jnp.sum(primals[0]), factor * jnp.sum(tangents[0])))
        return jax.value_and_grad(f)

    assert same(with_rule(2.0), with_rule(2.0)) and not same(with_rule(2.0), with_rule(3.0))
    assert _identity.hashes({"a": data}) != _identity.hashes({"a": other}) != _identity.hashes([other])


def damage(file, how):
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "not a file of NumPy":
        file.write_bytes(b"xx")
    else:  # a flipped bit in the middle
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped"])
def test_the_latest_state_or_piece_is_damaged(copy, straight, how):
    states, pieces = sorted(copy.glob("state-*.npz")), sorted(copy.glob("draws-*.npz"))
    assert len(states) == 2
    for files in (states, pieces):
        damage(files[-1], how)
        if how == "missing" and files is states:
            identical(run(copy), straight)  # As if the process had died before.
        else:
            with pytest.warns(UserWarning, match=f"{files[-1].name} is .*; the run goes on from state-"):
                identical(run(copy), straight)
        states, pieces = sorted(copy.glob("state-*.npz")), sorted(copy.glob("draws-*.npz"))
    # What was damaged is whole again, so there is no other warning.
    if how == "truncated":
        identical(run(copy), straight)


def test_what_cannot_be_repaired_is_named(tmp_path):
    state, piece, description = {"y": np.zeros(300)}, {"x": np.arange(300.0)}, {"a": 1}
    with _checkpoint.Checkpoint(tmp_path, description) as folder:
        for _ in range(3):
            folder.save(state, piece)
    damage(tmp_path / "draws-000000.npz", "flipped")
    with _checkpoint.Checkpoint(tmp_path, description) as folder:
        with pytest.raises(ValueError, match="draws-000000.npz is damaged; delete the folder to begin anew"):
            folder.load(state, piece)
        damage(tmp_path / "draws-000000.npz", "missing")
        with pytest.raises(ValueError, match="draws-000000.npz is missing; delete the folder to begin anew"):
            folder.load(state, piece)
        for file in tmp_path.glob("state-*.npz"):
            damage(file, "truncated")
        with pytest.raises(ValueError, match="state-.* is damaged and state-.* is damaged; delete the folder"):
            folder.load(state, piece)
    for how, reason in (("flipped", "run.json is damaged"), ("missing", "has no run.json")):
        damage(tmp_path / "run.json", how)
        with pytest.raises(ValueError, match=f"{reason}.*; delete the folder to begin anew"):
            _checkpoint.Checkpoint(tmp_path, description)


def test_a_full_disk(tmp_path, straight, monkeypatch):
    calls, sync = [], os.fsync

    def full(number):
        calls.append(number)
        if len(calls) >= 60:
            raise OSError(errno.ENOSPC, "No space left on device")
        return sync(number)

    monkeypatch.setattr(os, "fsync", full)
    folder = tmp_path / "run"
    with pytest.raises(
        OSError, match="the checkpoint .* cannot be written: No space left on device; .* can be resumed"
    ):
        run(folder)
    assert not list(folder.glob("*.new"))
    monkeypatch.undo()
    identical(run(folder), straight)


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "not a file of NumPy", "flipped"])
def test_any_damage_is_seen(tmp_path, how):
    piece, description = {"x": np.arange(300.0)}, {"a": 1}
    with _checkpoint.Checkpoint(tmp_path, description) as folder:
        for i in range(3):
            folder.save({"y": np.full(300, float(i))}, piece)
    damage(tmp_path / "state-000003.npz", how)
    with _checkpoint.Checkpoint(tmp_path, description) as folder:
        if how == "missing":
            loaded, pieces = folder.load({"y": np.zeros(300)}, piece)
        else:
            with pytest.warns(UserWarning, match="state-000003.npz is damaged; the run goes on from state-000002.npz"):
                loaded, pieces = folder.load({"y": np.zeros(300)}, piece)
    assert np.all(loaded["y"] == 1) and len(pieces) == 2


def test_paths(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match="the checkpoint .*file' is a file; give a folder"):
        run(file)
    with pytest.raises(TypeError, match="sample: checkpoint must be the path of a folder, got 3"):
        run(3)


def test_a_checkpoint_holds_arrays_keys_and_numbers(tmp_path):
    def state(x):
        stage = _chains.WarmupStage(x, x + 1, x + 2, x / 8)
        key = jax.random.key(x)
        return stage, jnp.full(2, x, jnp.bfloat16), np.full(2, x), np.float32(x), x > 1, x / 2, key, "name"

    description = {"a": {"b": 3}}
    with _checkpoint.Checkpoint(tmp_path, description) as folder:
        half = np.asarray(jnp.ones((2, 3), jnp.bfloat16))
        folder.save(state(5), {"x": np.ones((2, 3), np.float32), "half": half, "key": jax.random.split(KEY)})
    with _checkpoint.Checkpoint(tmp_path, description) as folder:
        like = {"x": np.zeros((0, 3), np.float32), "half": half[:0], "key": jax.random.split(KEY)[:0]}
        loaded, pieces = folder.load(state(0), like)
    assert loaded[0] == (5, 6, 7, 0.625) and loaded[4:6] == (True, 2.5) and loaded[-1] == "name"
    assert all(type(x) is int for x in loaded[0][:3]) and loaded[1].dtype == jnp.bfloat16
    assert np.all(loaded[1] == 5) and np.all(loaded[2] == 5) and loaded[3] == 5
    assert np.all(jax.random.key_data(loaded[6]) == jax.random.key_data(jax.random.key(5)))
    assert len(pieces) == 1 and np.all(pieces[0]["x"] == 1)
    assert pieces[0]["half"].dtype == jnp.bfloat16 and np.all(pieces[0]["half"] == 1)
    assert np.all(pieces[0]["key"] == jax.random.split(KEY))
    with pytest.raises(ValueError, match="of another run: a b is 4, was 3"):
        _checkpoint.Checkpoint(tmp_path, {"a": {"b": 4}})
