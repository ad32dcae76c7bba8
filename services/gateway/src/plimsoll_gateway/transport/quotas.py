"""Rate limits as headers, the same over both protocols: draft-ietf-httpapi-ratelimit-headers."""

import math
from collections.abc import Sequence

from plimsoll_gateway.service.limits import Quota

POLICY, STATE = "RateLimit-Policy", "RateLimit"


def quota_headers(quotas: Sequence[Quota]) -> dict[str, str]:
    """What each limit allows, and what is left of it; nothing when no limit was asked."""
    if not quotas:
        return {}
    return {
        POLICY: ", ".join(f'"{one.name}";q={one.rate.at_once};w={math.ceil(one.rate.per_s)}' for one in quotas),
        STATE: ", ".join(f'"{one.name}";r={one.remaining};t={math.ceil(one.full_in_s)}' for one in quotas),
    }
