"""Every special function against its table: values and first derivatives in both widths."""

import numpy as np
import pytest

from .truth import entries, worst

CASES = [
    pytest.param(
        entry,
        dtype,
        # One worker for each program, which `truth.run` compiles once.
        marks=pytest.mark.xdist_group(f"special-{entry.program or name}"),
        id=f"{name}-{dtype.__name__}",
    )
    for name, entry in entries().items()
    for dtype in (np.float32, np.float64)
]


@pytest.mark.parametrize("entry, dtype", CASES)
def test_error_in_units_in_the_last_place(entry, dtype):
    for column, (error, where) in worst(entry, dtype).items():
        bounds = entry.value_ulp if column == "value" else entry.derivative_ulp
        assert error <= bounds[dtype is np.float64], f"{column}: {error:.4g} ulp at {where}"
