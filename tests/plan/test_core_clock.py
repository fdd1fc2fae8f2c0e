"""Times as the services show them."""

from datetime import UTC, datetime

import pytest

from nutshell.core.clock import Clock, iso_micros, iso_micros_z, iso_seconds, parse_iso


@pytest.mark.parametrize("at", [0.0, 1795346839.2248101, 1795346839.9999999, 1795346839.5, 951782400.000001])
def test_forms_agree_with_the_calendar(at: float) -> None:
    when = datetime.fromtimestamp(round(at * 1e6) / 1e6, UTC)
    assert iso_micros(at) == when.strftime("%Y-%m-%dT%H:%M:%S.%f")
    assert iso_micros_z(at) == when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert abs(parse_iso(iso_micros_z(at)) - at) < 1e-6
    assert parse_iso(iso_seconds(at)) == int(at)


def test_the_clock_stops_and_steps() -> None:
    clock = Clock(seed=1)
    clock.stop()
    at = clock.now()
    woken: list[float] = []
    clock.on_step(lambda: woken.append(clock.now()))
    clock.step(60)
    assert clock.now() == at + 60
    assert woken == [at + 60]
    before = clock.elapsed()
    clock.step(5)
    assert clock.elapsed() == before + 5
    with pytest.raises(ValueError, match="forward"):
        clock.step(-1)
    assert Clock(seed=5).new_id() == Clock(seed=5).new_id()
