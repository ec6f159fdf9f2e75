"""From video files to frames: their numbers, their times and their pixels."""
