"""What ms-swift sees: datasets, templates and rewards under their registered names. Imported by `register` only."""
