"""What every program of this folder does first: join the other processes."""

import jax


def join(port, num_processes, process_id, heartbeat_seconds=30):
    """Make this the process of the given number, as the command line says it."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.distributed.initialize(
        f"127.0.0.1:{port}",
        int(num_processes),
        int(process_id),
        coordinator_bind_address=f"127.0.0.1:{port}",
        initialization_timeout=180,
        heartbeat_timeout_seconds=heartbeat_seconds,
        shutdown_timeout_seconds=30,
    )
