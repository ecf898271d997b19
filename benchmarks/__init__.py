"""What is measured, and against whom. ``python -m benchmarks`` runs every part; ``README.md`` says what each is."""
