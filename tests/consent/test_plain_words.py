"""The terms read aloud: complete, and the same in three languages."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.consent import plain_words
from edge_agent.consent.hours import Hours, parse_hours
from edge_agent.consent.plain_words import (
    WAIVER,
    describe,
    describe_camera,
    describe_differences,
    describe_house,
    notice,
)
from edge_agent.consent.policy import CameraTerms, GlobalTerms, Mode, Occasion, Refusal, Refusals
from edge_agent.protocol.request import Category
from edge_agent.protocol.verdict import Mask
from edge_agent.texts import LANGUAGES
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS
from tests.consent import strategies
from tests.support.gate import terms


@given(strategies.terms, st.sampled_from(LANGUAGES))
def test_every_term_has_a_sentence_in_every_language(some, language):
    """No term is left out, and nothing is left unfilled."""
    camera, house = list(describe_camera(some, language)), list(describe_house(some, language))
    assert len(camera) == (1 if some.camera.mode is Mode.DENY else len(CameraTerms.model_fields))
    assert len(house) == len(GlobalTerms.model_fields)
    assert all(sentence.endswith(".") and "{" not in sentence for sentence in (*camera, *house))


def test_the_catalogue_is_complete():
    """Three texts for every key, with the same places to fill, and no word missing."""
    for key, texts in plain_words._CATALOGUE.items():
        assert len(set(texts)) >= 1
        assert len({tuple(re.findall(r"{\w+}", text)) for text in texts}) == 1, key
        assert all(texts), key
    words = [*Category, *Occasion, *Refusal]
    assert all(f"word.{word.value}" in plain_words._CATALOGUE for word in words)


HALF = Mask(((0, 0), (1000, 0), (1000, 500), (0, 500)))
CORNER = Mask(((0, 0), (500, 0), (500, 250), (0, 250)))
SPECK = Mask(((0, 0), (1, 0), (1, 1)))

SAID = {
    "English": ("en", "camera.window", 30 * MINUTE_NS, "No clip is longer than 30 minutes."),
    "Spanish": ("es", "camera.window", 12 * HOUR_NS, "Ningún clip dura más de 12 horas."),
    "French": ("fr", "house.expires_after", 45 * DAY_NS, "Ce consentement prend fin 45 jours après sa signature."),
    "one": ("en", "house.reported_within", HOUR_NS, "… at most 1 hour before."),
    "no wait": ("en", "house.cooling_off", 0, "A granted release waits 0 seconds, and I can cancel it."),
    "half a second": ("en", "house.cooling_off", 500_000_000, "A granted release waits 500ms, and I can cancel it."),
    "hours": (
        "es",
        "camera.hours",
        parse_hours(["mon,sat 08:00-18:00"]),
        "Solo grabaciones de estas horas: lunes, sábado 08:00-18:00.",
    ),
    "every day": (
        "en",
        "camera.hours",
        parse_hours(["08:00-18:00"]),
        "Only footage recorded at these times: 08:00-18:00.",
    ),
    "always": ("fr", "camera.hours", Hours.always(), "Seulement les images enregistrées à ces heures : à toute heure."),
    "never": ("en", "camera.hours", Hours(()), "Only footage recorded at these times: none."),
    "categories": (
        "fr",
        "camera.categories",
        frozenset({Category.ROBBERY, Category.ARSON}),
        "Seulement pour des incidents de ces types : incendie volontaire, vol avec violence.",
    ),
    "no agency": ("en", "house.agencies", frozenset(), "Only requests from: none."),
    "no sound": ("es", "camera.audio", False, "Nunca con sonido."),
    "masks": (
        "en",
        "camera.masks",
        (CORNER, HALF),
        "Areas blacked out before anything leaves: 2 (62 % of the picture, a55c75b6).",
    ),
    "masks beyond the picture": ("es", "camera.masks", (HALF, HALF, HALF), "…3 (100 % de la imagen, 43867ea4)."),
    "a speck": ("fr", "camera.masks", (SPECK,), "…1 (<1 % de l'image, 1329369b)."),
    "refusals": (
        "en",
        "house.refusals",
        Refusals(),
        "What a refusal tells the center: asked of an area: nothing; asked of this house: the bare word “declined”.",
    ),
}


@pytest.mark.parametrize(("language", "path", "value", "expected"), SAID.values(), ids=SAID.keys())
def test_values_are_said_as_people_say_them(language, path, value, expected):
    """Units in words, days by name, nothing in nanoseconds."""
    assert describe(path, value, language).endswith(expected.removeprefix("…"))


def test_a_difference_says_whether_it_counts_or_waits():
    """And the terms that count until it is signed."""
    lines = dict(
        (difference.path, text)
        for difference, text in describe_differences(
            terms(distance_m=300, window=HOUR_NS), terms(distance_m=400, window=MINUTE_NS), "en"
        )
    )
    assert lines["camera.window"] == "No clip is longer than 1 minute. (counts at once)"
    assert lines["camera.distance_m"].endswith(
        "(waits for your signature; until then: Only for incidents within 300 metres of the camera.)"
    )


def test_the_waiver_is_identified_by_its_digest():
    """What was shown is what the signature names, in each language its own."""
    assert set(WAIVER) == set(LANGUAGES)
    assert len({notice(language).sha256 for language in LANGUAGES}) == len(LANGUAGES)


def test_a_mask_that_was_moved_is_another_sentence():
    """Of the same size and number too: the owner sees that the drawing is not the one that was signed."""
    moved = Mask(tuple((x, y + 500) for x, y in HALF.points))
    one, other = (describe("camera.masks", (mask,), "en") for mask in (HALF, moved))
    assert "50 %" in one
    assert "50 %" in other
    assert one != other
