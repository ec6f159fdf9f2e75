"""Annotation files of HC-STVG, VidSTG and others, read as samples."""
