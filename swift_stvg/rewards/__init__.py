"""The rewards of STVG-o1 and two metrics in the same form."""
