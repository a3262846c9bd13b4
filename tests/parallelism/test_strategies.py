"""Every family, trained by every strategy, on every shape that eight devices can take: the same losses and the same
parameters. docs/strategies.md shows this table.
"""

import dataclasses
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from models.decoder import Neighbours
from models.families import build, configuration
from parallelism.interface import Parallelism
from parallelism.mesh import MeshShape, make_mesh
from parallelism.strategies.by_name import strategy
from tests.parallelism.drawn_states import drawn_state, laid_out
from training.objective import objective
from training.precision import optimiser_under
from training.recipes import RECIPES

STEPS, BATCH, LENGTH, CHUNK, VOCAB = 5, 8, 64, 16, 64
DENSE, FAMILIES = ("palm", "gopher"), ("palm", "gopher", "retro")
SHAPES = [
    MeshShape(pod, data, 8 // pod // data)
    for pod in (1, 2, 4, 8) for data in (1, 2, 4, 8) if 8 % (pod * data) == 0
]  # fmt: skip
PODS = [shape for shape in SHAPES if shape.pod > 1]
TOLERANCE, OF_LARGEST_MOMENT = 1e-5, 1e-4
# Adam divides a gradient by its own size, be it rounding noise (the slowest sinusoid of the relative positions has no
# other); this epsilon is above that noise. Moments are checked too: Adam would hide a gradient of the wrong size.
EPSILON = 1e-5

MATRIX = [
    *[(Parallelism(), family, shape) for family in FAMILIES for shape in SHAPES],
    *[(Parallelism(zero=1), family, MeshShape(2, 2, 2)) for family in FAMILIES],
    *[(Parallelism(micro_batches=2), family, MeshShape(2, 2, 2)) for family in FAMILIES],
    *[(Parallelism(strategy="pods"), family, shape) for family in FAMILIES for shape in PODS],
    *[(Parallelism(strategy="pmap"), family, MeshShape(data=8)) for family in FAMILIES],
    *[
        (Parallelism(strategy="pipeline", micro_batches=2), family, shape) for family in DENSE for shape in PODS
    ],
    *[
        (Parallelism(strategy="pipeline", micro_batches=2, schedule="gpipe"), family, MeshShape(2, 2, 2))
        for family in DENSE
    ],
]  # fmt: skip


def tiny(family, layers):
    """Eight heads, so that every mesh divides them."""
    changes = {"num_heads": 8, "head_size": 4, "vocab_size": VOCAB, "num_layers": layers}
    if family == "palm":
        return dataclasses.replace(configuration("palm/smoke"), **changes)
    gopher = dataclasses.replace(configuration("gopher/smoke"), **changes)
    if family == "gopher":
        return gopher
    return dataclasses.replace(
        configuration("retro/smoke"), decoder=gopher, cca_layers=(layers,), encoder_layers=1,
        encoder_num_heads=8, encoder_head_size=4, chunk=CHUNK, neighbour=CHUNK,
    )  # fmt: skip


def batch(family, step):
    random = np.random.default_rng(step)
    near = None
    if family == "retro":
        shape = (BATCH, LENGTH // CHUNK, 2, 2 * CHUNK)
        near = Neighbours(random.integers(0, VOCAB, shape).astype(np.int32), random.random(shape) < 0.9)
    tokens = random.integers(0, VOCAB, (BATCH, LENGTH + 1)).astype(np.int32)
    weights = (random.random((BATCH, LENGTH)) < 0.9).astype(np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights, "neighbours": near}


def strategy_of(how, family, shape, layers):
    trained = objective(build(tiny(family, layers)), family, "float32")
    mesh = make_mesh(shape, jax.devices()[: shape.size])
    return strategy(trained, optimiser_of(family), mesh, how)


def optimiser_of(family):
    recipe = RECIPES[family]
    if family != "palm":
        recipe = dataclasses.replace(recipe, epsilon=EPSILON)
    return optimiser_under("float32", recipe.optimiser(recipe.schedule(STEPS)))


def depth(how, shape):
    """Layers of the model: as many as a pipeline has stages, two where it runs in parts."""
    return {"pipeline": shape.pod, "pods": 2}.get(how.strategy, 1)


def trained(runs, family, state):
    """(what each step reports, final state) of STEPS steps."""
    reports = []
    for step in range(STEPS):
        state, report = runs.step(state, batch(family, step))
        reports.append({name: float(value) for name, value in report.items()})
    return reports, jax.device_get(state)


@cache
def reference(family, layers):
    """(initial state, reports, final state) of a model of so many layers on one device."""
    runs = strategy_of(Parallelism(), family, MeshShape(), layers)
    initial = drawn_state(tiny(family, layers), optimiser_of(family))
    return initial, *trained(runs, family, jax.device_put(initial))


def name_of(value):
    if isinstance(value, Parallelism):
        default = Parallelism(strategy=value.strategy)
        changed = {f: v for f, v in dataclasses.asdict(value).items() if v != getattr(default, f)}
        return "-".join([value.strategy, *(f"{field}={v}" for field, v in changed.items())])
    return str(value)


# Every strategy, every family, and what only two of them together have: on the mesh all axes at once and, for PaLM,
# whose one key/value head no axis splits, the model's alone; neighbours cut into micro-batches, and encoded in another
# part than the one that reads them, on pods. That GPipe is 1F1B bit for bit, and PaLM's pipeline one program, is in
# test_pipeline.py.
ALL_AXES = MeshShape(2, 2, 2)
OFTEN = [
    (Parallelism(), "palm", ALL_AXES),
    (Parallelism(), "palm", MeshShape(1, 1, 8)),
    (Parallelism(), "gopher", MeshShape(4, 2, 1)),
    (Parallelism(), "retro", ALL_AXES),
    (Parallelism(zero=1), "palm", ALL_AXES),
    (Parallelism(micro_batches=2), "retro", ALL_AXES),
    (Parallelism(strategy="pods"), "retro", ALL_AXES),
    (Parallelism(strategy="pmap"), "gopher", MeshShape(data=8)),
    (Parallelism(strategy="pipeline", micro_batches=2), "gopher", ALL_AXES),
]


def cases():
    """The matrix, and what of it is left to those who ask for all."""
    assert all(case in MATRIX for case in OFTEN)
    for case in MATRIX:
        yield pytest.param(*case, marks=[] if case in OFTEN else [pytest.mark.exhaustive])


@pytest.mark.parametrize(("how", "family", "shape"), cases(), ids=name_of)
def test_every_strategy_gives_the_same_losses_and_parameters(how, family, shape):
    layers = depth(how, shape)
    initial, expected_reports, expected = reference(family, layers)
    runs = strategy_of(how, family, shape, layers)
    reports, actual = trained(runs, family, laid_out(initial, runs))
    for report, expected_report in zip(reports, expected_reports):
        assert report == pytest.approx(expected_report, rel=TOLERANCE)
    assert len({report["loss"] for report in reports}) == STEPS
    close(actual.params, expected.params, lambda leaf: TOLERANCE)
    close(actual.optimiser, expected.optimiser, lambda leaf: OF_LARGEST_MOMENT * np.abs(leaf).max())


def close(actual, expected, tolerance):
    for (path, leaf), other in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(actual)):
        np.testing.assert_allclose(
            other, leaf, rtol=0, atol=tolerance(leaf), err_msg=jax.tree_util.keystr(path)
        )


def table():
    """What the matrix holds, for docs/strategies.md."""
    runs = {}
    for how, family, shape in MATRIX:
        shapes = runs.setdefault(name_of(how).replace("-", ", "), {}).setdefault(family, [])
        shapes.append(str(shape))
    cells = [[how, *(" ".join(by_family.get(f, ["–"])) for f in FAMILIES)] for how, by_family in runs.items()]
    lines = [["strategy", *FAMILIES], ["---"] * (1 + len(FAMILIES)), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def test_the_table_in_the_docs_is_what_is_run_here():
    page = (Path(__file__).parents[2] / "docs/strategies.md").read_text(encoding="utf-8")
    assert table() in page, (
        "Put what `python -m tests.parallelism.test_strategies` prints into docs/strategies.md."
    )


if __name__ == "__main__":
    print(table())
