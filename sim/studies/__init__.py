"""Many scenarios: search, sweeps, capacity, what-if."""
