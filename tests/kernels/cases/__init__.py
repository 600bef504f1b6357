"""The cases of `test_kernels.py`, in one module for each family of kernels. A class joins with one entry."""

import importlib
import pathlib

from .case import Case as Case


def _collect() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("[a-z]*.py")):
        if path.stem != "case":
            found = importlib.import_module(f".{path.stem}", __name__).CASES
            assert not found.keys() & cases.keys(), f"{path.stem} has a case of another family's name"
            cases |= found
    return cases


CASES = _collect()
