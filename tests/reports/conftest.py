"""The smoke run of tests/experiments, for the reports that are made of one."""

from tests.experiments.conftest import finished_run, run

__all__ = ["finished_run", "run"]
