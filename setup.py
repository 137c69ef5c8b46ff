"""The packages: those found, and conf/, installed as nc_runner.conf. All else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["nc_runner", "nc_runner.*"]), "nc_runner.conf"])
