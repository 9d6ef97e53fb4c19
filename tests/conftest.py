"""The whole suite runs on 8 virtual CPU devices, under strict dtype and rank promotion."""

import importlib.metadata
import os
import pathlib

# Without optimisation, programs compile in half the time. `XLA_FLAGS= pytest` compiles them as
# users do; `.ci/run` does that for the tests of arithmetic.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + " --xla_cpu_use_fusion_emitters=false" * (importlib.metadata.version("jaxlib") < "0.11"),
)
os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=8"

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiled programs are kept for the other worker and the next run, however quick they were.
jax.config.update(
    "jax_compilation_cache_dir", str(pathlib.Path(__file__).parents[1] / ".jax_cache")
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True, scope="module")
def programs_of_one_module():
    """A worker holds the compiled programs of one test module at a time."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def compiled_anew():
    """For tests that read the compiler's analyses, which the cache does not keep in full."""
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()
