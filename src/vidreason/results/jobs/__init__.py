"""The jobs that make tables, figures, page, gallery and model cards, as the workflow and `make tables` run them."""
