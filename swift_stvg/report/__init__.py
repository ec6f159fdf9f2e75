"""Reports: scores and answers as text, drawings and web pages."""
