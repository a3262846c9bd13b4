"""A state comes back bit for bit or not at all: after a kill, after damage, onto another mesh."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from errors import InputError
from training.checkpoints import Checkpoints
from training.recipes import recipe

ROOT = Path(__file__).parents[2]


def _state(seed=0, width=16):
    """Parameters, an optimiser's nested state, and bits a float comparison would miss: NaN, −0, denormals."""
    rng = np.random.default_rng(seed)
    params = {
        "attention": {"w": jnp.asarray(rng.standard_normal((2, width, 8)), jnp.float32)},
        "embedding": {"w": jnp.asarray([np.nan, -0.0, 1e-45, np.inf], jnp.float32)},
    }
    moments = jax.tree.map(lambda x: x + x.dtype.type(seed), recipe("palm", 10).init(params))
    return {"params": params, "opt_state": moments, "half": jnp.asarray(rng.standard_normal(5), jnp.bfloat16)}


def _assert_same_bits(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()


def _data_file(folder, step):
    """The file that holds the arrays' bytes: the largest."""
    files = (path for path in Path(folder, str(step)).rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def test_comes_back_bit_for_bit(tmp_path):
    state = _state()
    assert Checkpoints(tmp_path).latest() is None
    Checkpoints(tmp_path).save(7, state)
    step, got = Checkpoints(tmp_path).restore(state)
    assert step == 7
    _assert_same_bits(got, state)


def test_keeps_the_newest(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, _state(step))
    assert checkpoints.latest() == 3
    _assert_same_bits(checkpoints.restore(_state(), step=2)[1], _state(2))
    with pytest.raises(InputError, match=r"step 1 .*\[3, 2\]"):
        checkpoints.restore(_state(), step=1)


def test_nothing_to_restore(tmp_path):
    with pytest.raises(InputError, match="no whole checkpoint"):
        Checkpoints(tmp_path).restore(_state())


@pytest.mark.parametrize("name", ["lr=[0.1]", "back\\slash"])
def test_a_folder_that_orbax_would_not_read_again_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="could not be read again: the path holds"):
        Checkpoints(tmp_path / name)


@pytest.mark.parametrize("name", ["lr=0.1", "{a}", "~", "ä b", "%20", "#", "$x", "'", ","])
def test_other_folders_come_back(tmp_path, name):
    """Where this fails, the character belongs to PATTERNS."""
    state = {"w": jnp.arange(3.0)}
    Checkpoints(tmp_path / name).save(1, state)
    _assert_same_bits(Checkpoints(tmp_path / name).restore(state)[1], state)


def test_what_is_called_saved_is_looked_for(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    monkeypatch.setattr(checkpoints._manager, "save", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match="says that it saved step 3"):
        checkpoints.save(3, _state())


def test_a_stray_folder_is_no_checkpoint(tmp_path):
    Checkpoints(tmp_path).save(7, _state())
    (tmp_path / "999").mkdir()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest() == 7 and checkpoints.restore(_state())[0] == 7


def test_going_back_drops_the_course_that_was_left(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (10, 20, 30):
        checkpoints.save(step, _state(step))
    checkpoints.save(20, _state(5))
    assert Checkpoints(tmp_path).latest() == 20
    _assert_same_bits(checkpoints.restore(_state())[1], _state(5))


@pytest.mark.parametrize("spec", [PartitionSpec(), PartitionSpec(None, "model", "data")])
def test_comes_back_onto_another_mesh(tmp_path, spec):
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    x = jnp.arange(2 * 16 * 8, dtype=jnp.float32).reshape(2, 16, 8)
    saved = jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, "data", "model")))
    Checkpoints(tmp_path).save(1, {"w": saved})
    sharding = NamedSharding(mesh, spec)
    _, got = Checkpoints(tmp_path).restore({"w": jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)})
    assert got["w"].sharding.is_equivalent_to(sharding, x.ndim)
    np.testing.assert_array_equal(got["w"], x)


def _flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# Orbax abandons its other reads when one of them fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "damage",
    [_flip_a_bit, lambda path: path.write_bytes(path.read_bytes()[:100]), lambda path: path.unlink()],
    ids=["bit flipped", "cut short", "missing"],
)
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, capsys, damage):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, _state(step, width=256))
    damage(_data_file(tmp_path, 2))
    step, got = Checkpoints(tmp_path).restore(_state(width=256))
    assert step == 1
    _assert_same_bits(got, _state(1, width=256))
    assert f"The checkpoint {tmp_path / '2'} is damaged" in capsys.readouterr().err
    checkpoints.save(2, _state(3, width=256))
    _assert_same_bits(Checkpoints(tmp_path).restore(_state(width=256))[1], _state(3, width=256))


def test_a_damaged_manifest_is_damage_too(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, _state(step))
    (manifest,) = (tmp_path / "2" / "manifest").glob("metadata*")
    manifest.write_text(manifest.read_text()[:50])
    assert Checkpoints(tmp_path).restore(_state())[0] == 1
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (
            lambda s: _state(width=32),
            r"\['opt_state'\].*\['attention'\]\['w'\] is float32\[2, 16, 8\] there and float32\[2, 32, 8\] here",
        ),
        (lambda s: s | {"extra": s["half"]}, r"\['extra'\] is absent there"),
        (lambda s: {"params": s["params"]}, r"\['half'\] is bfloat16\[5\] there and absent here"),
        (lambda s: s | {"half": s["half"].astype(jnp.float16)}, r"bfloat16\[5\] there and float16\[5\] here"),
    ],
)
def test_another_configuration_is_an_error_that_names_the_leaf(tmp_path, other, difference):
    """Falling back to an older checkpoint would not help, and would hide the mistake."""
    Checkpoints(tmp_path).save(1, _state())
    with pytest.raises(InputError, match=difference):
        Checkpoints(tmp_path).restore(other(_state()))


def test_another_configuration_is_refused_even_where_all_shapes_agree(tmp_path):
    Checkpoints(tmp_path, configuration={"decoder": {"activation": "gelu"}}).save(1, _state())
    with pytest.raises(InputError, match=r"decoder\.activation is 'gelu' there and 'relu' here"):
        Checkpoints(tmp_path, configuration={"decoder": {"activation": "relu"}}).restore(_state())


def test_a_full_disk_keeps_what_is_there(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, _state(1))

    def full(*args, **kwargs):
        # As TensorStore words it; a full disk met by orbax's own files is an OSError with the same words.
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write 1190258 bytes: No space left on device")

    with monkeypatch.context() as context:
        context.setattr(checkpoints._manager, "save", full)
        with pytest.raises(InputError, match=f"step 2 does not fit into {tmp_path}"):
            checkpoints.save(2, _state(2))
    _assert_same_bits(Checkpoints(tmp_path).restore(_state())[1], _state(1))


SAVE_FOREVER = """
import sys
import jax.numpy as jnp
from training.checkpoints import Checkpoints
checkpoints, step = Checkpoints(sys.argv[1]), 1
while True:
    w = jnp.full((64, 1024), step, jnp.float32) + jnp.arange(1024.0)
    checkpoints.save(step, {"w": w, "step": jnp.asarray(step)})
    print(step, flush=True)
    step += 1
"""


def test_a_kill_in_the_middle_of_a_save_leaves_the_last_one_whole(tmp_path):
    """The kill comes while the temporary folder exists; going on replaces what the dead save left behind."""
    like = {"w": jnp.zeros((64, 1024)), "step": jnp.asarray(0)}
    command = [sys.executable, "-c", SAVE_FOREVER, str(tmp_path)]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as writer:
        for _ in range(3):
            finished = int(writer.stdout.readline())
        while not list(tmp_path.glob("*tmp*")):  # a writer that is stopped cannot finish before it is killed
            writer.send_signal(signal.SIGCONT)
            time.sleep(0.001)
            writer.send_signal(signal.SIGSTOP)
            assert os.WIFSTOPPED(os.waitpid(writer.pid, os.WUNTRACED)[1])
        writer.send_signal(signal.SIGKILL)
    assert list(tmp_path.glob("*tmp*")), "the kill missed the save"
    step, state = Checkpoints(tmp_path).restore(like)
    assert step >= finished and state["step"] == step
    np.testing.assert_array_equal(state["w"], np.broadcast_to(step + np.arange(1024.0), (64, 1024)))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(step + 1, state)
    assert checkpoints.restore(like)[0] == step + 1
    assert not list(tmp_path.glob("*tmp*")), "what the dead save left is still there"


def test_nothing_is_pickled(tmp_path):
    Checkpoints(tmp_path).save(1, _state())
    contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert contents and not any(b"\x80\x04\x95" in content for content in contents)
