"""An incident from a dispatch system: its JSON, a mapping of ours, and the words that a person would have typed."""

import json

import pytest

from edge_agent.errors import UsageError
from edge_agent.rtcc.office.cad import read_cad

INCIDENT = {
    "Incident": {"Number": "2026-004711", "Type": {"Code": 211}, "Narrative": " robbery at the corner "},
    "Location": {"Lat": 40.7128, "Lon": -74.006},
    "ReceivedUtc": "2026-05-04T21:10:00Z",
    "Events": [{"At": "2026-05-04T21:00:00Z"}, {"At": "2026-05-04T21:12:00Z"}],
    "a/b": {"~": "desk 4"},
    "Nothing": None,
    "Flag": True,
}
MAPPING = {
    "number": "/Incident/Number",
    "category": {"at": "/Incident/Type/Code", "is": {"211": "robbery"}},
    "place": ["/Location/Lat", "/Location/Lon"],
    "reported_at": "/ReceivedUtc",
    "incident_window": ["/Events/0/At", "/Events/1/At"],
    "purpose": "/Incident/Narrative",
    "contact": "/a~1b/~0",
}


def read(incident=None, **mapping):
    return read_cad(json.dumps(incident or INCIDENT).encode(), json.dumps(MAPPING | mapping).encode())


def test_an_incident_gives_the_words_of_a_request():
    """As they would be typed: joined where two values make one word, and translated where a word is ours."""
    assert read() == {
        "number": "2026-004711",
        "category": "robbery",
        "place": "40.7128,-74.006",
        "reported_at": "2026-05-04T21:10:00Z",
        "incident_window": "2026-05-04T21:00:00Z/2026-05-04T21:12:00Z",
        "purpose": "robbery at the corner",
        "contact": "desk 4",
    }


WRONG = {
    "a word that is none": ({"operator": "/Incident/Number"}, "does not have"),
    "a pointer to nowhere": ({"number": "/Incident/Nr"}, "nothing for number"),
    "beyond a list": ({"number": "/Events/2/At"}, "nothing for number"),
    "a list's odd index": ({"number": "/Events/00/At"}, "nothing for number"),
    "an object": ({"number": "/Incident"}, "no text"),
    "nothing": ({"number": "/Nothing"}, "no text"),
    "yes": ({"number": "/Flag"}, "no text"),
    "no pointer": ({"number": "Incident"}, "no JSON Pointer"),
    "a code that is not mapped": ({"category": {"at": "/Incident/Type/Code", "is": {}}}, "no word of ours"),
    "half a translation": ({"category": {"at": "/Incident/Type/Code"}}, "should be"),
    "two places for one": ({"number": ["/Incident/Number", "/ReceivedUtc"]}, "more than one place"),
    "three places": ({"place": ["/Location/Lat"] * 3}, "more than one place"),
}


@pytest.mark.parametrize(("mapping", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_mapping_that_does_not_fit_is_refused(mapping, words):
    """With the word and the pointer: nothing is guessed about an incident."""
    with pytest.raises(UsageError, match=words):
        read(**mapping)


@pytest.mark.parametrize("raw", [b"", b"[", b"\xff", b"[" * 100_000, b" " * 2_000_000])
def test_what_is_no_json_is_refused(raw):
    """As incident and as mapping."""
    for pair in ((raw, b"{}"), (b"{}", raw)):
        with pytest.raises(UsageError):
            read_cad(*pair)
