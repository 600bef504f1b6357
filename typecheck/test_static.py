"""pyright and mypy on the programs beside this file."""

import json
import pathlib
import runpy
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
ACCEPT = sorted((HERE / "accept").glob("*.py"))

pytest.importorskip("pyright")
pytest.importorskip("mypy")
pytestmark = pytest.mark.xdist_group("static")


def pyright(*args):
    # The environment's interpreter first on the path: --verifytypes asks no other.
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, args)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout)


def test_pyright_accepts_the_library_the_tests_and_the_right_programs_and_sees_every_mistake():
    report = pyright()
    errors = [
        f"{d['file']}:{d['range']['start']['line'] + 1}: {d['message']}"
        for d in report["generalDiagnostics"]
        if d["severity"] == "error"
    ]
    assert not errors, "\n".join(errors)
    assert report["summary"]["filesAnalyzed"] > 40


def test_mypy_accepts_the_right_programs():
    result = subprocess.run([sys.executable, "-m", "mypy", *map(str, ACCEPT)], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_mypy_in_strict_mode_accepts_an_annotated_model():
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", HERE / "accept/annotated_model.py"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("program", ACCEPT, ids=lambda p: p.stem)
def test_the_right_programs_run(program):
    runpy.run_path(str(program))
