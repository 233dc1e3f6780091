"""What a picture looks like in whole numbers, and what counts as the same picture."""

from __future__ import annotations

import numpy as np
import pytest

from edged.engines.build.look import SAME, cell_means, detail_of, look_at, same_picture


def plain(value, size=(360, 640)):
    return np.full((*size, 3), value, np.uint8)


def test_light_and_scene_of_a_picture():
    picture = plain(100)
    picture[:, :320] = 60
    look = look_at(picture)
    assert (look.brightness, look.contrast) == (80, 20)
    assert look.scene.reshape(5, 8, 3)[:, :, 0].tolist() == [[-20] * 4 + [20] * 4] * 5


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (48, 64), (359, 641)])
def test_cell_means_are_those_of_the_pixels(size):
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    found = cell_means(picture, (8, 5))
    for row in range(5):
        for column in range(8):
            cell = picture[row * size[0] // 5 : (row + 1) * size[0] // 5,
                           column * size[1] // 8 : (column + 1) * size[1] // 8].reshape(-1, 3)  # fmt: skip
            expected = cell.astype(int).sum(axis=0) // len(cell) if len(cell) else [0, 0, 0]
            assert found[row, column].tolist() == list(expected)


def test_noise_makes_no_other_picture_and_a_person_far_away_does():
    random = np.random.default_rng(2)
    street = random.integers(40, 200, (360, 640, 3)).astype(np.uint8)

    def noisy(picture):
        return np.clip(picture + random.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)

    with_person = street.copy()
    with_person[200:230, 300:310] = 20
    assert same_picture(detail_of(noisy(street)), detail_of(noisy(street)))
    assert not same_picture(detail_of(noisy(street)), detail_of(noisy(with_person)))


def test_light_that_changes_is_another_picture():
    assert same_picture(detail_of(plain(100)), detail_of(plain(100 + SAME)))
    assert not same_picture(detail_of(plain(100)), detail_of(plain(101 + SAME)))
