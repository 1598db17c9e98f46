"""How fast crm-sync is, as ratios that two machines can compare: `python -m benchmarks`, which `make bench` runs."""
