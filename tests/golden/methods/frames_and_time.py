"""Compare frame numbers, sizes and time positions of both methods with the golden data."""

from tests.golden.methods.base import MethodCheck, Mutations

CHECKS: tuple[MethodCheck, ...] = ()
MUTATIONS: Mutations = {}
