"""The settings of one target: how its CRM is reached, what it is owed, how fast it may be pushed to."""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from crm_sync import closure, settings_sources
from crm_sync.pace import Rate
from crm_sync.when import DIRECTIONS, MEDIA, When

Text = Annotated[str, Field(min_length=1)]


def _not_empty(given: tuple[str, ...]) -> tuple[str, ...]:
    # Not by a `min_length`, which counts only the items that are right.
    if not given:
        raise ValueError("must not be empty; give a value or remove it")
    return given


Texts = Annotated[tuple[Text, ...], AfterValidator(_not_empty)]
Count = Annotated[int, Field(strict=True, ge=1)]


class Table(BaseModel):
    """A table of the settings file: unknown keys are refused, and no fault quotes a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


def _known_source(name: str) -> str:
    known = (*closure.FIELDS, "version")
    if name in known or (name.startswith("attributes.") and name != "attributes."):
        return name
    raise ValueError(f"is no field of a closure; {settings_sources.suggestion(name, known)}")


class FieldRule(Table):
    """What one CRM field is filled with: a closure field (through a map, with a default), or a constant.

    None means "not given": TOML has no null. In the settings file `source` is called `from`. With `clear` an empty
    source empties the CRM's field too, where it would otherwise be left as it is.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    source: Annotated[str, AfterValidator(_known_source)] | None = Field(default=None, validation_alias="from")
    map: dict[str, JsonValue] = Field(default_factory=dict)
    default: JsonValue = None
    constant: JsonValue = None
    clear: bool = False

    @model_validator(mode="before")
    @classmethod
    def _unfolded(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"from": given}
        if not isinstance(given, dict | FieldRule):
            raise ValueError("must be the name of a closure field in quotes, or a table with from or constant")
        return given

    @model_validator(mode="after")
    def _is_one_thing(self) -> "FieldRule":
        if (self.source is None) == (self.constant is None):
            raise ValueError("needs either from or constant; give one of them")
        if self.constant is not None and (self.map or self.default is not None):
            raise ValueError("has a constant beside map or default; remove them")
        return self


class WhenSettings(Table):
    """Which conversations a target is owed; a list that is left out asks for nothing."""

    media: Texts | None = None
    direction: Texts | None = None
    queue: Texts | None = None
    division: Texts | None = None

    @field_validator("media", "direction")
    @classmethod
    def _are_known(cls, given: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        known = MEDIA if info.field_name == "media" else DIRECTIONS
        if unknown := [word for word in given or () if word not in known]:
            raise ValueError(f"names {unknown[0]!r}; {settings_sources.suggestion(unknown[0], known)}")
        return given

    def as_when(self) -> When:
        """Return the value that decides."""
        return When.from_record(self.model_dump(exclude_none=True))


class TargetSettings(Table):
    """A configured CRM. `options` are the adapter's own; `secrets` is what `${NAME}` stood for in them.

    `concurrency` counts the pushes under way in one worker process. `rate` is in records per second over all workers,
    `burst` how many of them may go at once.
    """

    adapter: Text
    batch: Count | None = None
    concurrency: Count = 2
    rate: Annotated[float, Field(strict=True, ge=0.001, le=100_000)] | None = None
    burst: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    when: WhenSettings = WhenSettings()
    options: dict[str, JsonValue] = Field(default_factory=dict, repr=False)
    fields: dict[str, FieldRule] = Field(default_factory=dict)
    secrets: tuple[SecretStr, ...] = ()

    @property
    def pace(self) -> Rate | None:
        """How fast all workers together may push, a second's worth at once unless told; None: as fast as they can."""
        return None if self.rate is None else Rate(per_second=self.rate, burst=self.burst or max(1, int(self.rate)))

    @model_validator(mode="after")
    def _burst_has_a_rate(self) -> "TargetSettings":
        if self.burst is not None and self.rate is None:
            raise ValueError("has a burst without a rate; add rate, or remove burst")
        return self
