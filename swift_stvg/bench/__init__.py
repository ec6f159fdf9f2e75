"""What things cost on a machine: ratios to baselines that are measured in the same run, in turns."""
