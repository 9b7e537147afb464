"""What leaves a run: results made again from answers, bundles, and weights with a card."""
