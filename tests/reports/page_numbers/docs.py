"""The pages of docs with few numbers, and docs/plan.md, which is written by its command as a whole."""

from experiments.plan import details
from reports.systems.plan import markdown
from reports.words import count
from tests.reports.page_numbers.measured import results, row_of
from tests.reports.page_numbers.page import Page, Sentence

PLAN = "experiments/results/plan/results.json"


def planned(model):
    return row_of(results("plan")["rows"], model=model)


def copying_retro():
    form = {"model": "retro", "retrieval": "on", "initialisation": "copying", "domain": "all", "seed": 0}
    row = row_of(results("compare")["rows"], **form)
    return count(row["parameters"]), row["train_tokens"] / 1e6


PAGES = (
    Page(
        "docs/parallelism.md",
        not_measured=(
            "PaLM trained on 6144 chips",
            "(PaLM, section 4)",
            "1F1B",
            "(p − 1) / (m + p − 1)",
        ),
        without_a_file={
            "with `--vocab-size 4096`, 42 %": "scratch: the command with this option, commit 0616e51",
        },
    ),
    Page("docs/plan.md", (Sentence("{}", lambda: [markdown(results("plan"))], PLAN),)),
    Page(
        "docs/generation.md",
        sentences=(
            Sentence(
                "At {} parameters and {:.1f}M training tokens it has the look of Python and no sense.",
                copying_retro,
                "experiments/results/compare/results.json (rows)",
            ),
        ),
        not_measured=("64 tokens", "1 nat is 1.44 bits"),
    ),
    Page(
        "docs/scale.md",
        sentences=(
            Sentence(
                "compiles the real train step for PaLM's two pods of {:.0f} TPU v4 chips on this machine",
                lambda: [planned("palm/540b")["chips"] / planned("palm/540b")["pods"]],
                PLAN,
            ),
            Sentence("{}", lambda: [details(planned("palm/540b") | {"collectives": []}).strip()], PLAN),
            Sentence(
                "predicts {:.1f} % MFU by a roofline whose assumptions it prints; PaLM reached {:.1f} %.",
                lambda: [planned("palm/540b")[mfu] for mfu in ("predicted_mfu", "published_mfu")],
                PLAN,
            ),
            Sentence(
                "and where the arithmetic misses: Gopher's {:.1f} % lies below what a pipeline-free run of it should reach.",
                lambda: [planned("gopher/280b")["published_mfu"]],
                PLAN,
            ),
        ),
        not_measured=(
            "process 0",
            "Process 0",
            "with exit code 1",
            "about 20 seconds of silence",  # HEARTBEAT_SECONDS of processes/start.py
            "Shards of 4,096 chunks",
        ),
    ),
    Page(
        "docs/strategies.md",
        not_measured=(
            "ZeRO: stage 3 splits weights and optimiser state, stage 1 with",
            "PaLM section 4",
            "Pathways section 5.3",
            "Gopher section 3.3",
            "equal to 1e-5 of their size, parameters to 1e-5, optimiser moments to 1e-4 of the largest",
            "From Pathways and PaLM (section 4)",
            "reached 1.95 times one pod",  # PaLM, section 4
            "moves 2 bytes per parameter",
        ),
    ),
)
