"""Imports point one way: between the packages of the library, inside inference, and between single modules."""

import ast
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "distrax_like"

# From the bottom to the top: each part may import those on earlier lines, and on its own line.
LIBRARY = (
    ("_arguments", "_eager", "_misc", "_module", "supports"),
    ("special",),
    ("math",),
    ("random",),
    ("bijectors",),
    ("kernels",),
    ("distributions",),
    ("inference",),
)
INFERENCE = (
    ("_devices", "_resampling", "_start", "_target"),
    ("stats",),
    ("optimizer",),
    ("vi",),
    ("mcmc",),
    ("smc",),
)
# Imports inside of functions that break a circle of modules, each with its reason.
INSIDE_FUNCTIONS = {
    ("distrax_like.distributions._distribution", "distrax_like.distributions._kl"): (
        "a method of the base class looks up a table whose keys are subclasses of it"
    ),
    ("distrax_like.distributions._distribution", "distrax_like.distributions._transformed"): (
        "a method of the base class returns a subclass of it"
    ),
    ("distrax_like.bijectors._bijector", "distrax_like.bijectors._compose"): (
        "calling a bijector on another returns a subclass of it"
    ),
}


def modules(root):
    """The source files of a package by the names of their modules."""
    out = {}
    for folder, _, files in os.walk(root, followlinks=True):
        for file in files:
            if file.endswith(".py"):
                parts = (root.name, *Path(folder, file).with_suffix("").relative_to(root).parts)
                out[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = Path(folder, file)
    return out


def imports(name, path, known):
    """The known modules that a module imports: those that run when it is imported, and those that run later.

    An import of a submodule also runs the packages around it; such an edge would make a circle of every package that
    imports its own submodules, so it is left out, as is what stands under TYPE_CHECKING.
    """
    at_once, later = set(), set()

    def visit(node, found):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found = later
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                found.add(f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base)
        for child in ast.iter_child_nodes(node):
            visit(child, found)

    visit(ast.parse(path.read_text()), at_once)
    return at_once & known.keys(), later & known.keys() - at_once


def graph(root):
    """For each module of a package the modules that it imports at once, and those that it imports later."""
    known = modules(root)
    return {name: imports(name, path, known) for name, path in known.items()}


def upward(edges, package, layers):
    """The imports between parts of a package that point to a higher layer, and parts that are in no layer."""
    level = {part: i for i, parts in enumerate(layers) for part in parts}

    def part(name):
        return name[len(package) + 1 :].split(".")[0] if name.startswith(f"{package}.") else ""

    inside = [name for name in edges if part(name)]
    wrong = [name for name in inside if part(name) not in level]
    for name in inside:
        for other in sorted(edges[name][0] | edges[name][1]):
            if part(other) and level.get(part(other), 0) > level.get(part(name), 0):
                wrong.append(f"{name} -> {other}")
    # The package itself imports all its parts, so none of them may import it.
    wrong += [f"{name} -> {package}" for name in inside if package in edges[name][0] | edges[name][1]]
    return wrong


def circles(edges):
    """The modules in circles of imports, as a list of circles."""
    done, out = set(), []

    def walk(name, path):
        if name in path:
            out.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for other in sorted(edges.get(name, ())):
                walk(other, [*path, name])
            done.add(name)

    for name in edges:
        walk(name, [])
    return out


@pytest.fixture(scope="module")
def library():
    return graph(ROOT)


def test_the_order_of_the_packages(library):
    assert upward(library, "distrax_like", LIBRARY) == []


def test_the_order_inside_inference(library):
    assert upward(library, "distrax_like.inference", INFERENCE) == []


def test_no_circles(library):
    assert circles({name: at_once for name, (at_once, _) in library.items()}) == []


def test_imports_inside_functions_that_would_close_a_circle_are_known(library):
    at_once = {name: found for name, (found, _) in library.items()}
    found = {
        (name, other)
        for name, (_, later) in library.items()
        for other in later
        if circles(at_once | {name: at_once[name] | {other}})
    }
    assert found == set(INSIDE_FUNCTIONS)


def test_planted_imports_are_found(tmp_path):
    files = {
        "__init__.py": "",
        "_misc.py": "def f():\n    from .special import _a\n",
        "special/__init__.py": "from . import _a as _a\n",
        "special/_a.py": "from ._b import b\n",
        "special/_b.py": "from distrax_like.special import _a\n",
        "inference/__init__.py": "",
        "inference/_target.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import mcmc\n",
        "inference/mcmc.py": "from . import _target, unknown\n",
        "inference/vi.py": "from .mcmc import sample\n",
        "inference/unknown.py": "import distrax_like\n",
    }
    for name, text in files.items():
        path = tmp_path / "distrax_like" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    edges = graph(tmp_path / "distrax_like")
    assert upward(edges, "distrax_like", LIBRARY) == [
        "distrax_like._misc -> distrax_like.special._a",
        "distrax_like.inference.unknown -> distrax_like",
    ]
    inside = upward(edges, "distrax_like.inference", INFERENCE)
    assert inside == ["distrax_like.inference.unknown", "distrax_like.inference.vi -> distrax_like.inference.mcmc"]
    at_once = {name: found for name, (found, _) in edges.items()}
    (circle,) = circles(at_once)
    assert circle.split(" -> ")[:2] in (
        ["distrax_like.special._a", "distrax_like.special._b"],
        ["distrax_like.special._b", "distrax_like.special._a"],
    )
