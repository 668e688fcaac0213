"""`fastlog loadtest`: sends at a pace, and accounts for every entry."""
