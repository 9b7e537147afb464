"""The jobs that make tables, figures, page and gallery, as the workflow and `make tables` run them."""
