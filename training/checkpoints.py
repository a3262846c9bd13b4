"""Checkpoints of a training state: orbax writes and reads them, this file says when one may be trusted.

Orbax gives sharded, atomic folders (written under a temporary name, then renamed), but hands back flipped
bits as if they were parameters, so beside the state lies a manifest with every leaf's shape, type and
checksum. The checksum is the sum of the leaf's bits as unsigned integers modulo 2³²: any one changed element
changes it, and it does not depend on how the leaf is sharded, so a state may come back onto another mesh than
it was saved from, of another number of processes too. Of many processes each writes and reads its devices'
shards, in a folder that all share, and all agree on which checkpoint is whole.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging

from errors import InputError
from processes.start import any_process
from storage.artifacts import fingerprint as hash_of
from storage.artifacts import first_difference
from storage.files import is_disk_full

State = TypeVar("State")

# Orbax looks for the parts of a checkpoint by a pattern that holds the folder's own name: where that is a
# pattern itself, the parts are not found, and what is called saved cannot be read.
MERGED = "manifest.ocdbt"  # of the parts that every process writes
PATTERNS = "*?[\\"

UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


def require_plain(folder: str | Path) -> None:
    """Raises InputError where the full path of `folder` has a character of PATTERNS."""
    if found := sorted(set(str(Path(folder).absolute())) & set(PATTERNS)):
        raise InputError(
            f"Checkpoints below {Path(folder).absolute()} could not be read again: the path holds "
            f"{' and '.join(found)}. Give a folder without {' '.join(PATTERNS)} in its path."
        )


class Checkpoints:
    """The newest `keep` states of one run, in a folder of their own.

    A state is a pytree of arrays. What comes back is equal to it bit for bit.

    configuration: what the parameters mean, values of JSON; a checkpoint of another one is refused even where
    all shapes agree.

    Raises:
        InputError: the folder's path is one that orbax does not read again.
    """

    def __init__(self, folder: str | Path, keep: int = 2, configuration: Mapping[str, Any] | None = None):
        require_plain(folder)
        logging.set_verbosity(logging.ERROR)
        self.folder = Path(folder).absolute()
        self._configuration = dict(configuration or {})
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(keep), enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest(self) -> int | None:
        """The newest step saved, None before the first. It may turn out damaged when it is restored."""
        return max(self._steps(), default=None)

    def save(self, step: int, state: Any) -> None:
        """Saves the state after `step` updates; returns when it is on disk under its final name.

        Checkpoints of this step and later ones belong to a course the run has left (it went back past a
        damaged checkpoint or a loss spike), so they are removed.

        Raises:
            InputError: the disk is full. Earlier checkpoints are untouched.
        """
        for left in self._manager.all_steps():
            if left >= step:
                self._manager.delete(left)
        manifest = {"configuration": self._configuration, "leaves": _manifest(state)}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), manifest=ocp.args.JsonSave(manifest))
        try:
            self._manager.save(step, args=items, force=True)
        except (OSError, ValueError) as error:
            if not is_disk_full(error):
                raise
            raise InputError(
                f"The disk is full: the checkpoint of step {step} does not fit into {self.folder}. "
                "Earlier ones are unharmed; free some space and run the same command again to resume."
            ) from error
        if not (self.folder / str(step) / "state" / MERGED).exists():
            raise RuntimeError(f"Orbax says that it saved step {step}, which does not lie in {self.folder}.")

    def remove_after(self, step: int) -> int:
        """Removes the checkpoints of later steps, and returns the step of the newest left, 0 for none."""
        for later in self._manager.all_steps():
            if later > step:
                self._manager.delete(later)
        return self.latest() or 0

    def _steps(self) -> list[int]:
        """The steps that have a manifest: a folder without is none of ours."""
        return [step for step in self._manager.all_steps() if (self.folder / str(step) / "manifest").is_dir()]

    def restore(self, like: State, step: int | None = None) -> tuple[int, State]:
        """The newest whole checkpoint, or that of `step`, as (its step, its state).

        Args:
            like: the state's structure, shapes, types and the shardings that its leaves come back onto, as
                arrays or `jax.ShapeDtypeStruct`s.
            step: None passes over damaged checkpoints, naming each on stderr.

        Raises:
            InputError: nothing can be restored, or the checkpoint is of another configuration.
        """
        steps = sorted(self._steps(), reverse=True)
        for candidate in (candidate for candidate in steps if step in (None, candidate)):
            try:
                return candidate, self._whole(candidate, like)
            except _DamagedError as damage:
                print(f"The checkpoint {self.folder / str(candidate)} is damaged: {damage}.", file=sys.stderr)
        raise InputError(
            f"There is no whole checkpoint {'' if step is None else f'of step {step} '}in {self.folder} "
            f"(steps found: {steps}). Choose another step, or remove the folder and train from the start."
        )

    def _whole(self, step, like):
        """The state, unless it is damaged: in all processes or in none."""
        damage = None
        try:
            state, checksums = self._read(step, like)
        except _DamagedError as error:
            damage = str(error)
        if any_process(damage is not None):  # before the checksums, which take the devices of all
            raise _DamagedError(damage or "another process cannot read it")
        for name, checksum in _checksums(state).items():
            if checksum != checksums[name]:
                raise _DamagedError(f"{name} does not have the checksum it was saved with")
        return state

    def _read(self, step, like):
        """The state, and the checksums that its leaves should have."""
        manifest = self._item(step, manifest=ocp.args.JsonRestore()).manifest
        targets = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
        difference = _first_leaf_that_differs(manifest["leaves"], _describe(targets))
        if difference := difference or first_difference(manifest["configuration"], self._configuration):
            raise InputError(
                f"The checkpoint {self.folder / str(step)} is of another configuration: {difference}. Use "
                "the configuration it was made with, or another folder for this run (--out)."
            )
        state = self._item(step, state=ocp.args.StandardRestore(targets)).state
        return state, {name: leaf["checksum"] for name, leaf in manifest["leaves"].items()}

    def _item(self, step, **item):
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**item))
        except Exception as error:  # What orbax raises for an unreadable file has no narrower common type.
            raise _DamagedError(f"it cannot be read ({type(error).__name__})") from error


def fingerprint(tree: Any) -> str:
    """16 hex digits that depend on the path, type, shape and checksum of every leaf of `tree`."""
    return hash_of(_manifest(tree))


class _DamagedError(Exception):
    pass


def _first_leaf_that_differs(saved, expected):
    for name in sorted(saved.keys() | expected.keys()):
        there, here = (_words(leaves.get(name)) for leaves in (saved, expected))
        if there != here:
            return f"{name} is {there} there and {here} here"
    return None


def _words(leaf):
    return "absent" if leaf is None else f"{leaf['dtype']}{leaf['shape']}"


def _manifest(state):
    checksums = _checksums(state)
    return {name: leaf | {"checksum": checksums[name]} for name, leaf in _describe(state).items()}


def _describe(state):
    """Each leaf's type and shape by its path, as in the manifest."""
    leaves = _named_leaves(state)
    return {name: {"dtype": str(leaf.dtype), "shape": list(leaf.shape)} for name, leaf in leaves}


def _checksums(state):
    return {name: int(checksum) for name, checksum in _named_leaves(jax.device_get(_sums_of_bits(state)))}


@jax.jit
def _sums_of_bits(state):
    def leaf(x):
        bits = jax.lax.bitcast_convert_type(x, UNSIGNED[x.dtype.itemsize])
        return jnp.sum(bits, dtype=jnp.uint32)

    return jax.tree.map(leaf, state)


def _named_leaves(tree):
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
