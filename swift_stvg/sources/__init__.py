"""Annotation files of HC-STVG, VidSTG and this project's own schema, read as samples."""
