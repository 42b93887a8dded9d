"""Several campaigns in one allocation: one driver, one set of executors, one fair queue."""
