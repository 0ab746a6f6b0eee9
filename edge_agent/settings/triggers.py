"""The events that make an event-only camera record: one message, one ONVIF event, or motion."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from edge_agent.settings.fields import Part, duration
from edge_agent.units import SECOND_NS


class _Trigger(Part):
    before_ns: Annotated[int, duration("0s", "10s")] = Field(default=0, alias="from")
    for_ns: Annotated[int, duration("5s", "10m")] = Field(default=30 * SECOND_NS, alias="for")
    per_hour: Annotated[int, Field(ge=1, le=360)] = 30


class MqttTrigger(_Trigger):
    """A message on the home's own broker (``home_broker``)."""

    kind: Literal["mqtt"]
    topic: Annotated[str, StringConstraints(pattern=r"^[^#+\x00]{1,256}$")]
    payload: Annotated[str, StringConstraints(max_length=256)] = "ON"


class OnvifTrigger(_Trigger):
    """An event of the camera itself, by ONVIF PullPoint; any topic that contains the text."""

    kind: Literal["onvif"]
    topic: Annotated[str, StringConstraints(min_length=1, max_length=256)] = "Motion"


class MotionTrigger(_Trigger):
    """Motion in the keyframes of the substream (of the main stream if there is no other)."""

    kind: Literal["motion"]
    area_percent: Annotated[float, Field(ge=0.1, le=100)] = 1.0


Trigger = Annotated[MqttTrigger | OnvifTrigger | MotionTrigger, Field(discriminator="kind")]
