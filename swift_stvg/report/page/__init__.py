"""A page that shows what a model did, or what a dataset holds: figures, charts and a gallery of drawn clips."""
