"""Video files to frames: which, when, and their pixels."""
