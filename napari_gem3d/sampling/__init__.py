"""Generation of whole volumes: window plan, solvers with known slices, propagation, recipe and job."""
