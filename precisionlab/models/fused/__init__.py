"""Fused float64 kernels of the mixers, as torch custom ops; how a kernel is chosen is said in `solvers.fused`."""
