"""What the last run amounts to: tables in the terminal, and a page of HTML."""
