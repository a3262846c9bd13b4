"""The arithmetic of a step against what the compiler makes of it, and against the published systems."""

import dataclasses

import jax
import pytest

from models.families import FAMILIES, build, configuration
from models.flops import train_flops_per_token
from parallelism.mesh import MeshShape, make_mesh
from parallelism.strategies.spmd import spmd
from planning.ahead_of_time import compile_step, planned
from planning.collectives import collectives
from planning.plans import PUBLISHED_MFU, PUBLISHED_RUNS, Request, run_of
from planning.roofline import predict
from planning.search import divides
from planning.topologies import has_libtpu, parse_topology, rings
from planning.workload import Run, estimated_bytes, estimated_gib, memory_traffic, work
from training.objective import batch_shapes, objective
from training.precision import optimiser_under
from training.recipes import recipe

RUNS = {case.model: case for case in PUBLISHED_RUNS}


def published(model):
    case = RUNS[model]
    topology = parse_topology(case.topology)
    return run_of(
        Request(model, case.topology, case.pods, case.model_parallel, case.batch), topology
    ), topology


@pytest.mark.parametrize("family", ["palm", "gopher"])
def test_bytes_are_what_the_compiled_step_sends(family):
    """In float32 here, twice the two bytes of the arithmetic. It leaves out sums of norms and of the report."""
    config = dataclasses.replace(
        configuration(f"{family}/smoke"),
        num_layers=6,
        num_heads=4,
        head_size=32,
        d_model=128,
        d_ff=512,
        vocab_size=512,
    )
    run = planned(Run(config, MeshShape(2, 2, 2), 8, 64, 1, FAMILIES[family].precision))
    step = spmd(
        objective(build(run.config), family, "float32"),
        optimiser_under("float32", recipe(family, 10)),
        make_mesh(run.mesh),
    )
    program = collectives(
        step.lower(batch_shapes(run.config, run.batch, run.length)).compile().as_text(), run.mesh
    )
    estimated = estimated_bytes(run)
    for axis in ("model", "data"):
        sent = sum(one.sent for one in program if one.axes == (axis,))
        assert sent == pytest.approx(2 * estimated[axis], rel=0.1), axis
    # PaLM's one key and value head lies whole on every device along model: much of a model this small.
    between = sum(one.sent for one in program if "pod" in one.axes)
    assert between == pytest.approx(2 * estimated["pod"], rel=0.15)


@pytest.mark.skipif(not has_libtpu(), reason="needs libtpu: pip install '.[tpu]'")
@pytest.mark.parametrize("family", ["palm", "gopher"])
def test_bytes_are_what_a_program_for_tpus_sends(family):
    config = dataclasses.replace(
        configuration(f"{family}/smoke"), num_layers=8, num_heads=8, head_size=128, d_model=1024, d_ff=4096,
        vocab_size=1024,
    )  # fmt: skip
    run = planned(Run(config, MeshShape(1, 4, 4), 16, 256, 1, FAMILIES[family].precision))
    found = compile_step(run, parse_topology("v4:4x4x1"), family).collectives
    for axis, estimated in estimated_bytes(run).items():
        assert sum(one.sent for one in found if one.axes == (axis,)) == pytest.approx(estimated, rel=0.1), (
            axis
        )


def test_palm_540b_is_predicted_within_five_points():
    run, topology = published("palm/540b")
    predicted = predict(work(run), topology.chip, rings(topology, run.mesh))
    assert abs(100 * predicted.mfu - PUBLISHED_MFU["palm/540b"]) < 5
    assert predicted.exchange_hidden > 0.95


def test_pods_exchange_two_bytes_per_parameter():
    run, _ = published("palm/540b")
    assert work(run).exchanged * run.mesh.data * run.mesh.model == pytest.approx(2 * run.parameters)


def test_flops_are_those_of_the_model_without_padding():
    run, _ = published("palm/540b")
    assert run.decoder.vocab_multiple == 12
    flops = work(run).model_flops * run.mesh.size / (run.batch * run.length)
    assert flops == train_flops_per_token(configuration("palm/540b"), 2048)


@pytest.mark.parametrize("model", RUNS)
def test_the_published_runs_divide_and_fit_by_arithmetic(model):
    run, topology = published(model)
    assert divides(run) and estimated_gib(run) < topology.chip.hbm_gib


def test_more_model_parallelism_moves_less_and_holds_less():
    runs = [
        planned(Run(configuration("palm/62b"), MeshShape(1, 512 // model, model), 1024, 2048, 1, "mixed"))
        for model in (1, 8)
    ]
    assert estimated_gib(runs[1]) < estimated_gib(runs[0])
    assert estimated_bytes(runs[1])["data"] < estimated_bytes(runs[0])["data"]
    assert memory_traffic(runs[1]) > memory_traffic(
        runs[0]
    )  # every device reads whole activations of more rows
    assert jax.device_count()  # nothing here was allocated
