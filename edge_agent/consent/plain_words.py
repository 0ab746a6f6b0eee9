"""The meaning of the terms, in plain sentences: English, Spanish and French from one catalogue.

Owns the words in which a resident reads the own terms before signing them, and the waiver that is signed with them. A
changed waiver is a new ``WAIVER_VERSION``: its digest is part of every signature. Pure.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from edge_agent.consent.hours import DAYS, Hours, encode_hours
from edge_agent.consent.mask_figures import say_masks
from edge_agent.consent.meet import Difference, differences
from edge_agent.consent.policy import Mode, Refusals, Terms
from edge_agent.consent.signed_consent import PrivacyNotice, digest_notice
from edge_agent.texts import LANGUAGES, Language
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, encode_duration

WAIVER_VERSION = "1"

WAIVER: Mapping[Language, str] = {
    "en": """\
I allow footage of the cameras named above to be released to the real time crime center named above, within the terms
above and for the purpose of a reported incident, and for nothing else. I can pause, cancel and revoke this at any time,
at once and without giving a reason; what was released before stays released. Nobody who asks for footage is owed it.
This consent ends by itself on the day shown, unless I sign again. I have the right to a copy of every entry in the
ledger of requests, decisions and releases that this device keeps.""",
    "es": """\
Permito que las grabaciones de las cámaras nombradas arriba se entreguen al centro de vigilancia nombrado arriba, dentro
de las condiciones de arriba y con motivo de un incidente denunciado, y para nada más. Puedo pausar, cancelar y revocar
este permiso en cualquier momento, al instante y sin dar razones; lo ya entregado queda entregado. Nadie que pida
grabaciones tiene derecho a ellas. Este consentimiento termina por sí solo el día indicado, salvo que firme de nuevo.
Tengo derecho a una copia de cada entrada del registro de solicitudes, decisiones y entregas que lleva este aparato.""",
    "fr": """\
J'autorise la remise d'images des caméras nommées ci-dessus au centre de surveillance nommé ci-dessus, dans les
conditions ci-dessus et à l'occasion d'un incident signalé, et pour rien d'autre. Je peux suspendre, annuler et révoquer
cette autorisation à tout moment, immédiatement et sans donner de raison ; ce qui a été remis le reste. Personne n'a
droit aux images qu'il demande. Ce consentement prend fin de lui-même le jour indiqué, sauf si je signe à nouveau. J'ai
droit à une copie de chaque entrée du registre des demandes, décisions et remises que tient cet appareil.""",
}

_CATALOGUE: Mapping[str, tuple[str, str, str]] = {
    "camera.mode.auto": (
        "A request that fits these terms is granted without asking me.",
        "Una solicitud que cumple estas condiciones se concede sin preguntarme.",
        "Une demande conforme à ces conditions est accordée sans me consulter.",
    ),
    "camera.mode.ask": (
        "I am asked about every request that fits these terms.",
        "Se me pregunta por cada solicitud que cumple estas condiciones.",
        "Je suis consulté pour chaque demande conforme à ces conditions.",
    ),
    "camera.mode.deny": (
        "Nothing of this camera is released.",
        "No se entrega nada de esta cámara.",
        "Rien de cette caméra n'est remis.",
    ),
    "camera.hours": (
        "Only footage recorded at these times: {value}.",
        "Solo grabaciones de estas horas: {value}.",
        "Seulement les images enregistrées à ces heures : {value}.",
    ),
    "camera.categories": (
        "Only for incidents of these kinds: {value}.",
        "Solo por incidentes de estos tipos: {value}.",
        "Seulement pour des incidents de ces types : {value}.",
    ),
    "camera.distance_m": (
        "Only for incidents within {value} metres of the camera.",
        "Solo por incidentes a menos de {value} metros de la cámara.",
        "Seulement pour des incidents à moins de {value} mètres de la caméra.",
    ),
    "camera.window": (
        "No clip is longer than {value}.",
        "Ningún clip dura más de {value}.",
        "Aucun extrait ne dépasse {value}.",
    ),
    "camera.footage_age": (
        "No footage older than {value} when it is asked for.",
        "Ninguna grabación con más de {value} al ser solicitada.",
        "Aucune image de plus de {value} au moment de la demande.",
    ),
    "camera.requests_per_day": (
        "At most {value} requests in any 24 hours.",
        "Como máximo {value} solicitudes en 24 horas.",
        "Au plus {value} demandes en 24 heures.",
    ),
    "camera.requests_per_month": (
        "At most {value} requests in any 30 days.",
        "Como máximo {value} solicitudes en 30 días.",
        "Au plus {value} demandes en 30 jours.",
    ),
    "camera.requests_per_incident": (
        "At most {value} requests for one incident.",
        "Como máximo {value} solicitudes por incidente.",
        "Au plus {value} demandes par incident.",
    ),
    "camera.minutes_per_month": (
        "At most {value} minutes of footage in any 30 days.",
        "Como máximo {value} minutos de grabación en 30 días.",
        "Au plus {value} minutes d'images en 30 jours.",
    ),
    "camera.quality.main": (
        "In full or in small resolution.",
        "En resolución completa o reducida.",
        "En pleine résolution ou en résolution réduite.",
    ),
    "camera.quality.sub": (
        "In small resolution only.",
        "Solo en resolución reducida.",
        "En résolution réduite seulement.",
    ),
    "camera.masks": (
        "Areas blacked out before anything leaves: {value}.",
        "Zonas tapadas antes de que salga nada: {value}.",
        "Zones masquées avant toute remise : {value}.",
    ),
    "camera.audio.true": ("Sound may go along.", "El sonido puede acompañar.", "Le son peut accompagner les images."),
    "camera.audio.false": ("Never with sound.", "Nunca con sonido.", "Jamais avec le son."),
    "house.agencies": (
        "Only requests from: {value}.",
        "Solo solicitudes de: {value}.",
        "Seulement les demandes de : {value}.",
    ),
    "house.signatures.operator+supervisor": (
        "An operator and a supervisor must both have signed.",
        "Deben haber firmado un operador y un supervisor.",
        "Un opérateur et un superviseur doivent tous deux avoir signé.",
    ),
    "house.signatures.operator+supervisor+dispatch": (
        "An operator, a supervisor and a dispatcher must all have signed.",
        "Deben haber firmado un operador, un supervisor y un despachador.",
        "Un opérateur, un superviseur et un régulateur doivent tous avoir signé.",
    ),
    "house.reported_within": (
        "The incident must have been reported before the request, at most {value} before.",
        "El incidente debe haberse denunciado antes de la solicitud, como máximo {value} antes.",
        "L'incident doit avoir été signalé avant la demande, au plus {value} avant.",
    ),
    "house.padding": (
        "A clip may begin and end at most {value} outside the reported time of the incident.",
        "Un clip puede empezar y acabar como máximo {value} fuera del tiempo denunciado del incidente.",
        "Un extrait peut déborder d'au plus {value} de part et d'autre de l'heure signalée de l'incident.",
    ),
    "house.ask_timeout": (
        "If I do not answer a question within {value}, the answer is no.",
        "Si no contesto una pregunta en {value}, la respuesta es no.",
        "Si je ne réponds pas à une question en {value}, la réponse est non.",
    ),
    "house.cooling_off": (
        "A granted release waits {value}, and I can cancel it.",
        "Una entrega concedida espera {value}, y puedo cancelarla.",
        "Une remise accordée attend {value}, et je peux l'annuler.",
    ),
    "house.blackout_dates": (
        "Nothing recorded on these days: {value}.",
        "Nada grabado en estos días: {value}.",
        "Rien de ce qui est enregistré ces jours-là : {value}.",
    ),
    "house.escrow.true": (
        "A second recipient, for safe keeping, may open what is released.",
        "Un segundo destinatario, como depositario, puede abrir lo entregado.",
        "Un second destinataire, comme dépositaire, peut ouvrir ce qui est remis.",
    ),
    "house.escrow.false": (
        "Nobody but the center's evidence desk and I can open what is released.",
        "Nadie más que la oficina de pruebas del centro y yo puede abrir lo entregado.",
        "Personne d'autre que le bureau des preuves du centre et moi ne peut ouvrir ce qui est remis.",
    ),
    "house.refusals": (
        "What a refusal tells the center: {value}.",
        "Lo que un rechazo dice al centro: {value}.",
        "Ce qu'un refus dit au centre : {value}.",
    ),
    "house.notify": ("I am told of: {value}.", "Se me avisa de: {value}.", "Je suis averti de : {value}."),
    "house.expires_after": (
        "This consent ends {value} after it is signed.",
        "Este consentimiento termina {value} después de firmarse.",
        "Ce consentement prend fin {value} après sa signature.",
    ),
    "fact.name": ("Its name: {value}", "Su nombre: {value}", "Son nom : {value}"),
    "fact.file_name": (
        "Its name in edge-agent.yaml now: {value}",
        "Su nombre en edge-agent.yaml ahora: {value}",
        "Son nom dans edge-agent.yaml maintenant : {value}",
    ),
    "fact.stream.main": ("Recorded from: {value}", "Grabada desde: {value}", "Enregistrée depuis : {value}"),
    "fact.stream.sub": (
        "Small stream recorded from: {value}",
        "Flujo reducido grabado desde: {value}",
        "Petit flux enregistré depuis : {value}",
    ),
    "fact.foreign": (
        "Older footage, recorded from elsewhere, is not released: {value}",
        "Las grabaciones anteriores, de otra fuente, no se entregan: {value}",
        "Les enregistrements antérieurs, d'une autre source, ne sont pas remis : {value}",
    ),
    "fact.place": ("Its place: {value}", "Su lugar: {value}", "Son emplacement : {value}"),
    "fact.until": (
        "These terms end: {value}",
        "Estas condiciones terminan: {value}",
        "Ces conditions expirent : {value}",
    ),
    "fact.issuer": ("The center: {value}", "El centro: {value}", "Le centre : {value}"),
    "fact.root": (
        "A root key that vouches for its people: {value}",
        "Una clave raíz que avala a su personal: {value}",
        "Une clé racine qui répond de son personnel : {value}",
    ),
    "fact.recipient.evidence": (
        "Today, clips are opened by the evidence key {value}",
        "Hoy abre los clips la clave de pruebas {value}",
        "Aujourd'hui, la clé de preuve {value} ouvre les extraits",
    ),
    "fact.recipient.escrow": (
        "Today, clips are also opened by the escrow key {value}",
        "Hoy también abre los clips la clave de depósito {value}",
        "Aujourd'hui, la clé de dépôt {value} ouvre aussi les extraits",
    ),
    "fact.store": (
        "Requests and revocations are remembered by: {value}",
        "Las solicitudes y revocaciones las recuerda: {value}",
        "Les demandes et révocations sont retenues par : {value}",
    ),
    "fact.threshold": (
        "Root keys that must sign together: {value}",
        "Claves raíz que deben firmar juntas: {value}",
        "Clés racines qui doivent signer ensemble : {value}",
    ),
    "fact.broker": (
        "Requests arrive from: {value}",
        "Las solicitudes llegan de: {value}",
        "Les demandes arrivent de : {value}",
    ),
    "fact.upload": ("Clips go to: {value}", "Los clips van a: {value}", "Les extraits vont à : {value}"),
    "fact.changed": (
        "not in the version that is signed now",
        "no está en la versión firmada ahora",
        "ne figure pas dans la version signée",
    ),
    "fact.time_zone": ("Times are of: {value}", "Las horas son de: {value}", "Les heures sont de : {value}"),
    "diff.counts": ("counts at once", "vale al instante", "vaut aussitôt"),
    "diff.waits": (
        "waits for your signature; until then: {value}",
        "espera su firma; hasta entonces: {value}",
        "attend votre signature ; d'ici là : {value}",
    ),
    "word.none": ("none", "ninguno", "aucun"),
    "word.always": ("at any time", "a cualquier hora", "à toute heure"),
    "word.request": ("requests", "solicitudes", "demandes"),
    "word.ask": ("questions to me", "preguntas para mí", "questions qui me sont posées"),
    "word.refusal": ("refusals", "rechazos", "refus"),
    "word.release": ("releases", "entregas", "remises"),
    "word.expiry": ("the end of my consent", "el fin de mi consentimiento", "la fin de mon consentement"),
    "word.silence": ("nothing", "nada", "rien"),
    "word.declined": ("the bare word “declined”", "solo la palabra «declined»", "le seul mot « declined »"),
    "word.share": ("of the picture", "de la imagen", "de l'image"),
    "word.area": ("asked of an area", "pedido a una zona", "demande à une zone"),
    "word.gateway": ("asked of this house", "pedido a esta casa", "demande à cette maison"),
    "word.homicide": ("homicide", "homicidio", "homicide"),
    "word.shooting": ("shooting", "tiroteo", "fusillade"),
    "word.robbery": ("robbery", "robo con violencia", "vol avec violence"),
    "word.assault": ("assault", "agresión", "agression"),
    "word.sexual-assault": ("sexual assault", "agresión sexual", "agression sexuelle"),
    "word.kidnapping": ("kidnapping", "secuestro", "enlèvement"),
    "word.burglary": ("burglary", "robo en vivienda", "cambriolage"),
    "word.vehicle-theft": ("vehicle theft", "robo de vehículo", "vol de véhicule"),
    "word.theft": ("theft", "hurto", "vol"),
    "word.arson": ("arson", "incendio provocado", "incendie volontaire"),
    "word.hit-and-run": ("hit and run", "atropello con fuga", "délit de fuite"),
    "word.missing-person": ("missing person", "persona desaparecida", "personne disparue"),
    "word.vandalism": ("vandalism", "vandalismo", "vandalisme"),
    "unit.d": ("{n} days", "{n} días", "{n} jours"),
    "unit.h": ("{n} hours", "{n} horas", "{n} heures"),
    "unit.m": ("{n} minutes", "{n} minutos", "{n} minutes"),
    "unit.s": ("{n} seconds", "{n} segundos", "{n} secondes"),
    "unit.d1": ("1 day", "1 día", "1 jour"),
    "unit.h1": ("1 hour", "1 hora", "1 heure"),
    "unit.m1": ("1 minute", "1 minuto", "1 minute"),
    "unit.s1": ("1 second", "1 segundo", "1 seconde"),
    **{
        f"day.{day}": names
        for day, names in zip(
            DAYS,
            (
                ("Monday", "lunes", "lundi"),
                ("Tuesday", "martes", "mardi"),
                ("Wednesday", "miércoles", "mercredi"),
                ("Thursday", "jueves", "jeudi"),
                ("Friday", "viernes", "vendredi"),
                ("Saturday", "sábado", "samedi"),
                ("Sunday", "domingo", "dimanche"),
            ),
            strict=True,
        )
    },
}
_UNITS = (("d", DAY_NS), ("h", HOUR_NS), ("m", MINUTE_NS), ("s", SECOND_NS))
_DURATIONS = {
    "camera.window",
    "camera.footage_age",
    "house.reported_within",
    "house.padding",
    "house.ask_timeout",
    "house.cooling_off",
    "house.expires_after",
}


def notice(language: Language) -> PrivacyNotice:
    """Return the waiver of a language as it goes into a signature."""
    return PrivacyNotice(WAIVER_VERSION, language, digest_notice(WAIVER[language]))


def describe_camera(terms: Terms, language: Language) -> Iterator[str]:
    """Yield one sentence for each term of a camera; only the first where nothing is released at all."""
    yield describe("camera.mode", terms.camera.mode, language)
    if terms.camera.mode is Mode.DENY:
        return
    for name in type(terms.camera).model_fields:
        if name != "mode":
            yield describe(f"camera.{name}", getattr(terms.camera, name), language)


def describe_house(terms: Terms, language: Language) -> Iterator[str]:
    """Yield one sentence for each term of the house."""
    for name in type(terms.house).model_fields:
        yield describe(f"house.{name}", getattr(terms.house, name), language)


def describe_differences(signed: Terms, file: Terms, language: Language) -> Iterator[tuple[Difference, str]]:
    """Yield each term that the file has differently, with its sentence and whether it counts or waits."""
    for difference in differences(signed, file):
        sentence = describe(difference.path, difference.file, language)
        if difference.waits:
            meanwhile = describe(difference.path, difference.effective, language)
            yield difference, f"{sentence} ({_word('diff.waits', language).format(value=meanwhile)})"
        else:
            yield difference, f"{sentence} ({_word('diff.counts', language)})"


def describe(path: str, value: Any, language: Language) -> str:
    """Return the sentence of one term, such as ``camera.window``, with a value."""
    if isinstance(value, bool):
        return _word(f"{path}.{str(value).lower()}", language)
    if isinstance(value, Enum):
        return _word(f"{path}.{value.value}", language)
    return _word(path, language).format(value=_show(path, value, language))


def describe_fact(fact: str, value: str, language: Language) -> str:
    """Return the sentence of one fact that the terms depend on, such as ``place``, with its value; empty for none."""
    return _word(f"fact.{fact}", language).format(value=value or _word("word.none", language))


def _show(path: str, value: Any, language: Language) -> str:
    if path in _DURATIONS:
        return _show_duration(value, language)
    if isinstance(value, Hours):
        return _show_hours(value, language)
    if isinstance(value, Refusals):
        ways = (("area", value.area), ("gateway", value.gateway))
        return "; ".join(
            f"{_word(f'word.{way}', language)}: {_word(f'word.{says.value}', language)}" for way, says in ways
        )
    if isinstance(value, frozenset):
        shown = [_word(f"word.{item.value}", language) if isinstance(item, Enum) else str(item) for item in value]
        return ", ".join(sorted(shown)) or _word("word.none", language)
    if isinstance(value, tuple):
        return say_masks(value, _word("word.share", language)) if value else _word("word.none", language)
    return str(value)


def _show_duration(duration_ns: int, language: Language) -> str:
    """Say a duration in its largest whole unit."""
    for unit, length_ns in _UNITS:
        if duration_ns and duration_ns % length_ns == 0:
            count = duration_ns // length_ns
            return _word(f"unit.{unit}1" if count == 1 else f"unit.{unit}", language).format(n=count)
    return encode_duration(duration_ns) if duration_ns else _word("unit.s", language).format(n=0)


def _show_hours(hours: Hours, language: Language) -> str:
    if not hours.spans:
        return _word("word.none", language)
    lines = encode_hours(hours)
    if isinstance(lines, str):
        return _word("word.always", language)
    shown = []
    for line in lines:
        days, _, times = line.rpartition(" ")
        names = ", ".join(_word(f"day.{day}", language) for day in days.split(",")) if days else ""
        shown.append(f"{names} {times}".strip())
    return "; ".join(shown)


def _word(key: str, language: Language) -> str:
    return _CATALOGUE[key][LANGUAGES.index(language)]
