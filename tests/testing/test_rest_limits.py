from __future__ import annotations

from voicepool.testing import rest_limits
from voicepool.testing.rest_limits import RateLimit, RateLimits, Verdict

LIMIT = RateLimit(requests=2, window_s=1.0)


def take(
    limits: RateLimits, now: float, *, route: str = "GET /a", bot_id: int = 1, resource: str = "9"
) -> Verdict:
    return limits.take(route, bot_id=bot_id, resource=resource, limit=LIMIT, now=now)


def test_a_window_allows_so_many_and_then_waits_for_its_end() -> None:
    limits = RateLimits()
    verdicts = [take(limits, now) for now in (0.0, 0.25, 0.5)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, False]
    assert [verdict.remaining for verdict in verdicts] == [1, 0, 0]
    assert [verdict.reset_after_s for verdict in verdicts] == [1.0, 0.75, 0.5]
    assert take(limits, 1.0).allowed


def test_bots_routes_and_resources_count_apart_but_resources_share_a_bucket_name() -> None:
    limits = RateLimits()
    for _ in range(2):
        take(limits, 0.0)
    assert not take(limits, 0.0).allowed
    other_resource = take(limits, 0.0, resource="8")
    assert other_resource.allowed
    assert take(limits, 0.0, bot_id=2).allowed
    other_route = take(limits, 0.0, route="GET /b")
    assert other_route.allowed
    assert other_resource.bucket == take(limits, 0.0).bucket != other_route.bucket


def test_headers_say_when_to_come_back() -> None:
    limits = RateLimits()
    allowed = take(limits, 0.0).headers(1000.0)
    assert allowed["X-RateLimit-Limit"] == "2"
    assert allowed["X-RateLimit-Remaining"] == "1"
    assert allowed["X-RateLimit-Reset"] == "1001.000"
    assert allowed["X-RateLimit-Reset-After"] == "1.000"
    assert "Retry-After" not in allowed
    take(limits, 0.0)
    refused = take(limits, 0.75).headers(1000.0)
    assert (refused["Retry-After"], refused["X-RateLimit-Scope"]) == ("0.250", "user")


def test_windows_that_are_over_are_forgotten() -> None:
    limits = RateLimits()
    for number in range(rest_limits._MAX_WINDOWS):
        take(limits, 0.0, resource=str(number))
    take(limits, 2.0, resource="new")
    assert len(limits._windows) == 1
