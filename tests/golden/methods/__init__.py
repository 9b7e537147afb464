"""Checks against what the published code of Video-R1 and Temporal-R1 computes (`tests/golden_methods`).

Each module has CHECKS, functions from `Methods` to items, and MUTATIONS, mistakes that those checks must notice.
"""
