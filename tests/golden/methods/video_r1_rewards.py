"""Compare rewards, groups and evaluation of Video-R1 with the golden data."""

from tests.golden.methods.base import MethodCheck, Mutations

CHECKS: tuple[MethodCheck, ...] = ()
MUTATIONS: Mutations = {}
