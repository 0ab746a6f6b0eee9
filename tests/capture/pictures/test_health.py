"""Picture health and motion: what a lens, a hand, a storm or a thief does to a picture."""

import cv2
import numpy as np
import pytest

from edge_agent.capture.pictures.health import IN_A_ROW, HealthJudge, MotionMeter, Picture, shrink

WIDTH, HEIGHT = 640, 360


def draw_scene(seed: int) -> Picture:
    """A view with many edges, always the same for a seed."""
    dice = np.random.default_rng(seed)
    scene = np.full((HEIGHT, WIDTH), 110, np.uint8)
    for _ in range(120):
        left, top = (int(dice.integers(0, side)) for side in (WIDTH, HEIGHT))
        wide, high = (int(side) for side in dice.integers(10, 100, 2))
        shade = int(dice.integers(30, 220))
        cv2.rectangle(scene, (left, top), (left + wide, top + high), shade, -1 if dice.random() < 0.6 else 3)
    return scene


SCENE = draw_scene(1)


def scaled(factor: float, offset: float = 0) -> Picture:
    return np.clip(SCENE * factor + offset, 0, 255).astype(np.uint8)


def with_person(left: int) -> Picture:
    scene = SCENE.copy()
    cv2.rectangle(scene, (left, 100), (left + 80, 340), 35, -1)
    return scene


class Camera:
    """A sensor with noise."""

    def __init__(self) -> None:
        self._dice = np.random.default_rng(7)

    def shoot(self, scene: Picture) -> Picture:
        noise = self._dice.normal(0, 3, scene.shape)
        return shrink(np.clip(scene + noise, 0, 255).astype(np.uint8))


def judge_often(judge: HealthJudge, camera: Camera, scene: Picture, times: int) -> list[str]:
    return [judge.judge(camera.shoot(scene)) for _ in range(times)]


@pytest.fixture
def camera() -> Camera:
    return Camera()


@pytest.fixture
def judge(camera: Camera) -> HealthJudge:
    """A judge that knows the scene."""
    judge = HealthJudge()
    assert set(judge_often(judge, camera, SCENE, 12)) == {"ok"}
    return judge


TROUBLE = {
    "black": (scaled(0.02), "black"),
    "a hand before the lens": (np.full_like(SCENE, 90), "covered"),
    "blurred": (cv2.GaussianBlur(SCENE, (25, 25), 0), "out-of-focus"),
    "turned a little": (np.roll(SCENE, 45, axis=1), "moved"),
    "turned away": (draw_scene(2), "moved"),
}
USUAL = {
    "brighter": scaled(1, 30),
    "dusk": scaled(0.6),
    "night": scaled(0.3),
    "a person": with_person(300),
    "shaken by wind": np.roll(SCENE, 4, axis=1),
}


@pytest.mark.parametrize(("scene", "code"), TROUBLE.values(), ids=TROUBLE.keys())
def test_trouble_is_named_after_a_few_pictures(judge: HealthJudge, camera: Camera, scene: Picture, code: str) -> None:
    """Each trouble is said once it holds for three pictures, and taken back once three are as usual."""
    said = judge_often(judge, camera, scene, IN_A_ROW + 2)
    assert said == ["ok"] * (IN_A_ROW - 1) + [code] * 3
    assert judge_often(judge, camera, SCENE, IN_A_ROW)[-1] == "ok"


@pytest.mark.parametrize("scene", USUAL.values(), ids=USUAL.keys())
def test_everyday_changes_are_no_trouble(judge: HealthJudge, camera: Camera, scene: Picture) -> None:
    """Light, weather and people come and go without a word."""
    assert set(judge_often(judge, camera, scene, 6)) == {"ok"}


def test_same_picture_again_and_again_is_frozen(judge: HealthJudge, camera: Camera) -> None:
    """A picture without fresh noise is a recording of itself, even while the time written in it goes on."""
    frozen = camera.shoot(SCENE)
    said = []
    for second in range(IN_A_ROW + 2):
        picture = frozen.copy()
        cv2.putText(picture, f"12:00:{second:02}", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255)
        said.append(judge.judge(picture))
    assert said[-1] == "frozen"


def test_single_odd_picture_is_not_told(judge: HealthJudge, camera: Camera) -> None:
    """A headlight, a moth, one damaged picture: nothing is said."""
    for scene in (scaled(0.02), SCENE, draw_scene(2), SCENE):
        assert judge.judge(camera.shoot(scene)) == "ok"


def test_other_size_begins_anew(judge: HealthJudge, camera: Camera) -> None:
    """After the encoder's shape was changed the view is learnt again, not told as moved."""
    assert set(judge_often(judge, camera, draw_scene(2)[:, :480], 5)) == {"ok"}


def test_motion_is_measured_in_percent_of_the_picture(camera: Camera) -> None:
    """A person moves about the share that it covers; noise and a cloud move nothing."""
    meter = MotionMeter()
    for _ in range(4):
        assert meter.measure(camera.shoot(SCENE)) == 0
    assert meter.measure(camera.shoot(scaled(1, 15))) < 0.5
    covered = 100 * 80 * 240 / (WIDTH * HEIGHT)
    assert covered / 3 < meter.measure(camera.shoot(with_person(300))) < covered * 1.5
