"""What a run found, on one page: tables, drawings and curves, made from the files in the run's folder alone."""
