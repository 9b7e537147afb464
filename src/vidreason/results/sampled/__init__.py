"""What several sampled answers to each question show: tables, a figure and a section of the results."""
