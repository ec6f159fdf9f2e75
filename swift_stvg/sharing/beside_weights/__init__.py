"""The scripts that `card` puts beside the weights. They run where this package is not installed."""
