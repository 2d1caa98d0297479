"""Media grants: which publication or slots a seat may use, as addresses and signed tokens.

The names here are the whole agreement with the media houses: `{lesson}.lecture`, `{lesson}.screen`,
`{lesson}.learner.{person}`, `{lesson}.voice.{person}` (a guest's microphone); a node routes a slot to its source
whenever that publication is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from media.room import RoomSource
from media.tokens import Act, SlotClaim, mint
from signaling.ice_grants import ice_servers
from signaling.protocol import MediaGrant, MediaGrants, Role, SlotGrant
from signaling.stage import VOICES, StageState

if TYPE_CHECKING:
    from classroom import LessonView
    from signaling.context import Context
    from signaling.seats import Seat

# One token starts one session; a page that must start another asks for a fresh one with `media.renew`.
TOKEN_LIFETIME_MS = 10 * 60 * 1000
LARGE_SLOT = "large"
AUDIO_SLOT = "audio"
GUEST_SLOT = "guest"
# The picture of a wall tile on a page; the layer that fits is chosen by it.
TILE_HEIGHT_PX = 160


def lecture_id(lesson_id: str) -> str:
    return f"{lesson_id}.lecture"


def screen_id(lesson_id: str) -> str:
    return f"{lesson_id}.screen"


def learner_publication_id(lesson_id: str, person_id: str) -> str:
    return f"{lesson_id}.learner.{person_id}"


def learner_of(lesson_id: str, publication_id: str) -> str | None:
    """The learner whose camera this publication is; None when it is not a learner's of this lesson."""
    prefix = f"{lesson_id}.learner."
    return publication_id.removeprefix(prefix) if publication_id.startswith(prefix) else None


def voice_id(lesson_id: str, person_id: str) -> str:
    return f"{lesson_id}.voice.{person_id}"


def speaker_of(lesson_id: str, publication_id: str, holder: str) -> str | None:
    """Whose voice a publication carries; None when it is nobody's who may speak in this lesson."""
    return holder if publication_id in (lecture_id(lesson_id), voice_id(lesson_id, holder)) else None


def stage_sources(lesson_id: str, stage: StageState) -> dict[str, RoomSource]:
    """What the stage's slots show to everyone. Nobody hears themselves; nobody is shown to themselves."""
    sources = {voice: RoomSource(None) for voice in VOICES}
    for guest in stage.guests:
        sources[guest.voice] = RoomSource(voice_id(lesson_id, guest.person_id), guest.person_id)
    shown = stage.shown
    sources[GUEST_SLOT] = RoomSource(learner_publication_id(lesson_id, shown), shown) if shown else RoomSource(None)
    return sources


def wall_subscription_id(seat: Seat) -> str:
    return f"{seat.lesson_id}.wall.{seat.person_id}.{seat.seat_id}"


def voice_slots(lesson_id: str, stage: StageState, person_id: str) -> list[SlotClaim]:
    sources = stage_sources(lesson_id, stage)
    return [SlotClaim(voice, "audio", sources[voice].for_holder(person_id)) for voice in VOICES]


def lecture_slots(lesson_id: str, stage: StageState, person_id: str) -> list[SlotClaim]:
    guest = stage_sources(lesson_id, stage)[GUEST_SLOT]
    return [
        SlotClaim("audio", "audio", lecture_id(lesson_id)),
        SlotClaim("camera", "video", lecture_id(lesson_id)),
        SlotClaim("screen", "video", screen_id(lesson_id)),
        SlotClaim(GUEST_SLOT, "video", guest.for_holder(person_id), TILE_HEIGHT_PX),
        *voice_slots(lesson_id, stage, person_id),
    ]


def wall_slots(
    lesson_id: str, learner_ids: tuple[str, ...], count: int, stage: StageState, person_id: str
) -> list[SlotClaim]:
    """The guest who speaks, `w0`… each with a learner as far as they go, one `large` picture, all sound.

    A page takes the first slots of a kind that it wants: the studio hears everyone and sees the guest alone.
    """
    sources = [learner_publication_id(lesson_id, person_id) for person_id in learner_ids[:count]]
    shown: list[str | None] = [*sources, *[None] * (count - len(sources))]
    guest = stage_sources(lesson_id, stage)[GUEST_SLOT]
    return [
        SlotClaim(GUEST_SLOT, "video", guest.for_holder(person_id), TILE_HEIGHT_PX),
        *(SlotClaim(f"w{number}", "video", source, TILE_HEIGHT_PX) for number, source in enumerate(shown)),
        SlotClaim(LARGE_SLOT, "video", None),
        SlotClaim(AUDIO_SLOT, "audio", lecture_id(lesson_id)),
        *voice_slots(lesson_id, stage, person_id),
    ]


async def grant(
    context: Context, seat: Seat, lesson: LessonView, role: Role, wall_count: int, stage: StageState
) -> MediaGrants:
    """What this seat may publish and play. Raises MediaError("no_node") while no media node is alive."""
    if lesson.state == "ended":
        return MediaGrants(publish=[], play=None)
    node = await context.media.node(seat.lesson_id)
    base = node.public_url.rstrip("/")
    ice = ice_servers(context.turn, seat.person_id, context.clock_ms())

    def token(act: Act, name: str, slots: list[SlotClaim]) -> str:
        return mint(
            context.media_token_key,
            holder=seat.person_id,
            seat=seat.seat_id,
            room=seat.lesson_id,
            act=act,
            id=name,
            now_ms=context.clock_ms(),
            lifetime_ms=TOKEN_LIFETIME_MS,
            slots=slots,
        )

    def publish(name: str) -> MediaGrant:
        return MediaGrant(url=f"{base}/whip/{name}", token=token(Act.PUBLISH, name, []), id=name, ice_servers=ice)

    def play(name: str, slots: list[SlotClaim]) -> MediaGrant:
        return MediaGrant(
            url=f"{base}/whep/{name}",
            token=token(Act.PLAY, name, slots),
            id=name,
            slots=[SlotGrant(name=slot.name, kind="audio" if slot.kind == "audio" else "video") for slot in slots],
            ice_servers=ice,
        )

    if role is Role.LEARNER:
        own = [learner_publication_id(seat.lesson_id, seat.person_id)]
        if stage.may_speak(seat.person_id):
            own.append(voice_id(seat.lesson_id, seat.person_id))
        slots = lecture_slots(seat.lesson_id, stage, seat.person_id)
        return MediaGrants(
            publish=[publish(name) for name in own],
            play=play(f"{seat.lesson_id}.{seat.person_id}.{seat.seat_id}", slots),
        )
    slots = wall_slots(seat.lesson_id, lesson.learner_ids, wall_count, stage, seat.person_id)
    wall = play(wall_subscription_id(seat), slots)
    if role is Role.INSTRUCTOR:
        return MediaGrants(publish=[publish(lecture_id(seat.lesson_id)), publish(screen_id(seat.lesson_id))], play=wall)
    return MediaGrants(publish=[], play=wall)
