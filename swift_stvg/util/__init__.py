"""What every room uses: JSON, whole files, processes, validation."""
