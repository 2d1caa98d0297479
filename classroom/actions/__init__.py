"""One function per change: load, rule, save, outbox in one transaction. One file per noun."""
