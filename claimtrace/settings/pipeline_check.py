"""The check of the section `pipeline`: the schedule with its time zone, durations and ranges."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ..clock import duration_ms
from ..errors import ConfigError
from .origins import Origins
from .schema import PipelineSettings


def check_pipeline(pipeline: PipelineSettings, origins: Origins) -> None:
    """Check the settings of the pipeline.

    Raises:
        ConfigError: names the setting and an example.

    >>> check_pipeline(PipelineSettings(schedule="0 2 * *"), Origins("a.toml", {}, {}))
    Traceback (most recent call last):
    ...
    claimtrace.errors.ConfigError: pipeline.schedule = 0 2 * *: Wrong number of fields [a.toml]
    (write minute, hour, day, month and weekday: 0 2 * * 1 is Mondays at two)
    """
    for name, above_zero in (("cool_down", False), ("look_every", True)):
        where = origins.of(f"pipeline.{name}")
        try:
            duration = duration_ms(getattr(pipeline, name))
        except ValueError as error:
            raise ConfigError(f"pipeline.{name}: {error}", where=where) from error
        if above_zero and duration == 0:
            raise ConfigError(f"pipeline.{name} must be longer than zero", where=where,
                              hint="write 60s")  # fmt: skip
    for name, low, high in (
        ("new_labels", 0, 10**9), ("least_new_frauds", 0, 10**9), ("keep_runs", 1, 1000),
    ):  # fmt: skip
        value = getattr(pipeline, name)
        if not low <= value <= high:
            raise ConfigError(f"pipeline.{name} = {value} is not within {low} .. {high}",
                              where=origins.of(f"pipeline.{name}"))  # fmt: skip
    _check_schedule(pipeline, origins)


def _check_schedule(pipeline: PipelineSettings, origins: Origins) -> None:
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
