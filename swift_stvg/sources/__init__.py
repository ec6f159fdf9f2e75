"""Annotation files of HC-STVG, VidSTG and this project's own schema, read as samples and rows."""

from swift_stvg.sources.load_report import LoadReport
from swift_stvg.sources.loading import load_rows, make_rows
from swift_stvg.sources.registry import SOURCES, Source, load_samples, parse_dataset

__all__ = ["SOURCES", "LoadReport", "Source", "load_rows", "load_samples", "make_rows", "parse_dataset"]
