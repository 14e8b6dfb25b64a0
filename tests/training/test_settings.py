import json
import math

import pytest

from throughtime import SettingError
from throughtime.training import (
    AGC,
    L1,
    L2,
    AutoClip,
    Clip,
    Forcing,
    RandomTruncation,
    TrainingSettings,
    Truncation,
    Vanishing,
    ZClip,
)

BAD = [
    ("max_updates", 0),
    ("max_updates", 1.5),
    ("batch_size", 0),
    ("learning_rate", 0),
    ("learning_rate", math.inf),
    ("learning_rate", math.nan),
    ("schedule", "linear"),
    ("warm_up", -1),
    ("weight_decay", -0.1),
    ("evaluate_every", 0),
    ("patience", 0),
    ("average", 0.0),
    ("average", 1),
    ("seed", -1),
    ("penalties", [L1(0.1)]),
    ("penalties", L1(0.1)),
    ("penalties", (0.1,)),
    ("forcing", "linear"),
    ("forcing", 0.5),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_setting_is_refused_by_name(name, value):
    with pytest.raises(SettingError, match=name):
        TrainingSettings(**{name: value})


def test_one_cycle_warms_up_by_itself():
    with pytest.raises(SettingError, match="one-cycle"):
        TrainingSettings(schedule="one-cycle", warm_up=10)


@pytest.mark.parametrize(
    "settings",
    [
        TrainingSettings(),
        TrainingSettings(
            clip=Clip(norm=None, value=0.3),
            truncation=Truncation(3, 7),
            schedule="cosine",
            average=0.9,
            patience=3,
            batch_size=5,
        ),
        TrainingSettings(
            truncation=RandomTruncation(3, 0.25),
            penalties=(L1(0.1, "weight_hh"), L2(0.2), L2(0.3, ("bias", "head")), Vanishing(0.4)),
            forcing=Forcing("inverse-sigmoid", least=0.1, constant=7.0),
        ),
        TrainingSettings(forcing=Forcing("linear")),
        TrainingSettings(clip=AutoClip(20, window=9)),
        TrainingSettings(clip=ZClip(3.0, 0.9, 5)),
        TrainingSettings(clip=AGC(0.1, 1e-2)),
    ],
)
def test_settings_survive_a_file(settings):
    assert TrainingSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
