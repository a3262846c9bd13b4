"""One script per question a person asks: `python -m experiments.NAME --help`. Nothing imports this folder."""
