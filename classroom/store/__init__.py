"""The database: tables, queries, transactions. The only place with SQL."""
