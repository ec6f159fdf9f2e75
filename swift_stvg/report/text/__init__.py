"""Reports as text, Markdown or JSON: one module for each kind of report."""
