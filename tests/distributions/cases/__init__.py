"""The cases of `test_generic.py`: one `Case` for each distribution, in one module for each family.

A class joins with one entry. Parameters have a batch of three where they can, and one of them is a scalar where there
are two, so that broadcasting is always part of the game.
"""

import dataclasses
import importlib
import pathlib

from .case import Case as Case


def _collect() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("[a-z]*.py")):
        if path.stem != "case":
            found = importlib.import_module(f".{path.stem}", __name__).CASES
            assert not found.keys() & cases.keys(), f"{path.stem} has a case of another family's name"
            cases |= {name: dataclasses.replace(case, name=name) for name, case in found.items()}
    return cases


CASES = _collect()
