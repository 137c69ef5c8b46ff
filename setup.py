"""Which packages there are: found, and conf/, which is installed as nc_runner.conf. All else: pyproject.toml."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["nc_runner", "nc_runner.*"]), "nc_runner.conf"])
