"""From scores to what people read: tables, figures, report."""
