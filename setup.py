"""Packaging: the folders executors/ and configs/ travel in the wheel as data of the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["alflow", "alflow.*"]), "alflow.data.executors", "alflow.data.configs"],
    package_dir={"alflow.data.executors": "executors", "alflow.data.configs": "configs"},
    package_data={
        "alflow.paper": ["data/*.csv"],
        "alflow.dftb": ["data/*.json"],
        "alflow.data.executors": ["*.py"],
        "alflow.data.configs": ["*.toml", "paper/*.toml"],
    },
)
