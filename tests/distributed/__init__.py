"""Several JAX processes on one machine, which talk over the loopback interface."""
