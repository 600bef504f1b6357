"""Positive semidefinite kernels."""

if __name__ != "distrax_like.kernels":
    raise ImportError("this folder is imported as distrax_like.kernels")
