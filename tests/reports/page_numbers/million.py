"""benchmarks/results/million.json, of which two pages speak."""

from tests.reports.page_numbers.measured import benchmark, row_of

MILLION = "benchmarks/results/million.json"


def setting(name):
    return benchmark("million")["setting"][name]


def raw(name):
    return benchmark("million")["raw"][name]


def at(nprobe):
    """The row of the table."""
    return row_of(benchmark("million")["rows"], nprobe=nprobe)


def chosen():
    """The row of the nprobe that the build chose."""
    return at(setting("nprobe"))


def reranked(factory, nprobe=64):
    """Recall on the keys of the encoder alone."""
    return row_of(raw(f"real {factory}")["curve"], nprobe=nprobe)["reranked"]
