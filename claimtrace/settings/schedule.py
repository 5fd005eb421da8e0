"""The check of a schedule: a cron expression and its time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ..errors import ConfigError
from .origins import Origins
from .schema import PipelineSettings


def check_schedule(pipeline: PipelineSettings, origins: Origins) -> None:
    """Check that there is such a time zone, and that the schedule is a cron expression.

    Raises:
        ConfigError: names the setting and an example.

    >>> check_schedule(PipelineSettings(schedule="0 2 * *"), Origins("a.toml", {}, {}))
    Traceback (most recent call last):
    ...
    claimtrace.errors.ConfigError: pipeline.schedule = 0 2 * *: Wrong number of fields [a.toml]
    (write minute, hour, day, month and weekday: 0 2 * * 1 is Mondays at two)
    """
    try:
        ZoneInfo(pipeline.time_zone)
    except (ValueError, OSError, KeyError) as error:
        raise ConfigError(
            f"pipeline.time_zone = {pipeline.time_zone} isn't known",
            where=origins.of("pipeline.time_zone"),
            hint="write UTC, or a name such as Europe/Berlin",
        ) from error
    if not pipeline.schedule:
        return
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(pipeline.schedule, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        words = str(error) or "no such day ever comes"
        raise ConfigError(
            f"pipeline.schedule = {pipeline.schedule}: {words}",
            where=origins.of("pipeline.schedule"),
            hint="write minute, hour, day, month and weekday: 0 2 * * 1 is Mondays at two",
        ) from error
