"""Compare rewards and evaluation of Temporal-R1 with the golden data."""

from tests.golden.methods.base import MethodCheck, Mutations

CHECKS: tuple[MethodCheck, ...] = ()
MUTATIONS: Mutations = {}
