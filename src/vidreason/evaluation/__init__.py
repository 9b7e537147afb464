"""From predictions to the results: parse, score, statistics, tables, figures, report."""
