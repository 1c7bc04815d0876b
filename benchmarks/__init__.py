"""Costs, each compared with a yardstick measured in the same run: `python -m benchmarks NAME [--quick] --json`."""
