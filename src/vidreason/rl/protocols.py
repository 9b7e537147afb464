"""What the two protocols reward differently: the published code (`upstream`) and the paper."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

UNFORMATTED = -2.0
"""Reward of a wrong answer in a broken format."""


@dataclasses.dataclass(frozen=True)
class ProtocolRules:
    """Where the published code and the paper disagree.

    Attributes:
        rule: How a task reads the answer in a completion. `anywhere` (upstream): math_verify over the whole text, then the
            first answer block on one line, or the whole text without one; its first character is enough. `tagged` (paper):
            the last answer block, over several lines if need be.
        correct_unformatted: Reward of a right answer in a broken format.
    """

    rule: Literal["anywhere", "tagged"]
    correct_unformatted: float


PROTOCOL_RULES: Mapping[str, ProtocolRules] = {
    "upstream": ProtocolRules("anywhere", 1.0),
    "paper": ProtocolRules("tagged", UNFORMATTED),
}


def protocol_rules(protocol: str) -> ProtocolRules:
    """The rules of a protocol.

    Raises:
        ValueError: There is no such protocol.
    """
    if protocol not in PROTOCOL_RULES:
        raise ValueError(f"protocol is {protocol!r}; allowed: {', '.join(PROTOCOL_RULES)}")
    return PROTOCOL_RULES[protocol]
