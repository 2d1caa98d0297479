"""The append-only, hash-chained ledger and its audit."""
