"""What Earmark's figures are: one script a figure, each prints a Markdown table and the command that made it."""
