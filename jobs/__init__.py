"""The jobs room: what a job is. States, rules, tables and every SQL statement; importing it does nothing."""
