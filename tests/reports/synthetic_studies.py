"""The five studies in miniature, with invented losses: what the pages are tested and looked at with."""

from tests.reports.synthetic_results import results, row, unfinished


def facts(family, retrieval=None, initialisation=None, **numbers):
    named = {"family": family, "size": "tiny", "retrieval": retrieval, "initialisation": initialisation}
    return named | {"steps": 610, "tokens": 624_640, "length": 512} | numbers


def ablation_of_palm():
    longer = [
        row(
            f"{name}, {times}x length", group=f"Beyond the training length: {times} times as long",
            against=f"{name}, 1x length" if times > 1 else name,
            cell=name, bits=bits * times**0.02 - 0.05, change={"length": f"x{times}"},
            facts=facts("palm", length=512 * times, overlapping=True),
        )
        for times in (1, 2, 4) for name, bits in (("published", 2.0), ("learned positions", 2.1))
    ]  # fmt: skip
    longer += [
        made | {"name": f"against {made['name']}", "against": made["name"].replace("learned positions", "published")}
        for made in longer if made["name"].startswith("learned")
    ]  # fmt: skip
    made = results([
        row("published", against=None, group="Published form", facts=facts("palm"), change={}),
        row("serial block", bits=1.985, expects="better"),
        row("multi-head attention", group="Attention", expects="equal"),
        row("GELU", group="Feed-forward", bits=2.02, expects="worse", note="d_ff 636 instead of 424"),
        row("ReLU", group="Feed-forward", bits=1.98, expects="worse"),
        row("learned positions", group="Positions", bits=2.1, facts=facts("palm")),
        *longer,
        row("no z-loss", group="Recipe"),
        row("Adam instead of Adafactor", group="Recipe", bits=2.3, expects="better"),
        row("a rate too high", group="Recipe", expects="worse"),
    ], experiment="ablate palm")  # fmt: skip
    made["rows"][-1]["cells"][1:] = [unfinished(seed) for seed in (1, 2)]
    return made


def ablation_of_retro():
    own = ("retro", "on", "copying")
    made = results([
        row("copying", against=None, group="Reference", gain=-0.033, facts=facts(*own, k=2, database=1.0)),
        row("retrieval off", group="Retrieval", against="copying", bits=2.033, expects="worse", cell="copying",
            facts=facts("retro", "off", "copying", k=0, database=1.0)),
        row("dense", group="Retrieval", against="copying", bits=2.02, expects="worse", facts=facts("gopher")),
        row("N only", group="What is read", against="copying", gain=-0.01, bits=2.023, expects="worse",
            facts=facts(*own, k=2, database=1.0)),
        *(row(f"k = {k}", group="Neighbours at evaluation", against="copying", cell="copying", gain=-0.02 - 0.003 * k,
              bits=2.012 - 0.003 * k, facts=facts(*own, k=k, database=1.0)) for k in (1, 4, 10)),
        *(row(f"{share:.0%} of the database", group="Database", against="copying", cell="copying",
              gain=-0.033 * share**0.5, bits=2.033 - 0.033 * share**0.5, expects="worse", draws=5,
              facts=facts(*own, k=2, database=share)) for share in (0.01, 0.1)),
        row("published initialisation", group="Initialisation", against="copying", gain=0.0, bits=2.02,
            facts=facts("retro", "on", "published", k=2, database=1.0)),
        row("crashed", group="Initialisation", against="copying", expects="worse"),
    ], experiment="ablate retro", noise=0.002)  # fmt: skip
    made["rows"][-1]["cells"][0] = unfinished(0, "failed")
    return made


def scaling():
    rows = []
    for budget in (0.9e12, 1.8e12, 3.6e12, 7.1e12):
        for wide in (64, 96, 128):
            for family in ("gopher", "palm", "retro"):
                bits = 1.4 + 0.7 * (budget / 1e12) ** -0.2 + 0.05 * abs(wide / 96 - budget**0.25 / 1400)
                retro = family == "retro"
                name = f"{family} {wide} wide, {budget:.2g} FLOPs"
                dense = f"gopher {wide} wide, {budget:.2g} FLOPs" if retro else None
                own = ("retro", "on", "copying") if retro else (family,)
                rows.append(row(
                    name, group=f"Budget {budget:.2g} FLOPs", against=dense, bits=bits - 0.03 * retro,
                    gain=-0.03 if retro else None, parameters=10_000 * wide, train_flops=budget,
                    facts=facts(*own, budget=budget, d_model=wide, **({"k": 2, "database": 1.0} if retro else {})),
                ))  # fmt: skip
                if retro and budget == 7.1e12:
                    rows += [
                        row(f"{name}, k = {k}", group="RETRO's gain over Gopher: neighbours", against=dense, cell=name,
                            bits=bits - 0.02 - 0.001 * k, gain=-0.02 - 0.001 * k, parameters=10_000 * wide,
                            facts=facts(*own, budget=budget, d_model=wide, k=k, database=1.0))
                        for k in (1, 4, 10)
                    ]  # fmt: skip
    return results(rows, experiment="scaling", null=False, noise=0.002)


def payoff():
    rows = []
    for name, gain in (("published", 0.0003), ("copying", -0.01)):
        for halvings in range(7):
            tokens = 6_246_400 >> halvings
            at = "" if not halvings else f", after {tokens // 1024:,} steps"
            rows.append(row(
                name + at, group=f"{name} initialisation", against=None, cell=name, bits=1.6 + 0.08 * halvings,
                gain=gain * (7 - halvings), facts=facts("retro", "on", name) | {"tokens": tokens, "k": 2, "database": 1.0},
                train_tokens=tokens,
            ))  # fmt: skip
    return results(rows, experiment="payoff", null=False, noise=0.002)


def square():
    rows = []
    for block, bits, gain in (("Gopher", 2.0, -0.04), ("PaLM", 1.98, -0.02)):
        numbers = {"block": block, "budget": 1.1e13}
        rows += [
            row(f"{block} block, dense", group=f"{block} block", against=None, bits=bits,
                facts=facts(block.lower(), **numbers)),
            row(f"{block} block, retrieval", group=f"{block} block", against=f"{block} block, dense", bits=bits + gain,
                gain=gain * 1.1, facts=facts("retro", "on", "copying", k=2, database=1.0, **numbers)),
        ]  # fmt: skip
    return results(rows, experiment="square", null=False, noise=0.002)


STUDIES = {
    "ablate-palm": ablation_of_palm, "ablate-retro": ablation_of_retro, "scaling": scaling, "payoff": payoff,
    "square": square,
}  # fmt: skip
