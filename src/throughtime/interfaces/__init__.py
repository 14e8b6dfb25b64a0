"""Floor 5. The command line, the report; drawing lives here."""
