"""The lists of families that docs/hub-models.md is made of are whole."""

from embedtune_trainer.embedder.vision_families import FAMILIES
from tests.trainer.hub.vision_families import VISION_FAMILIES


def test_every_way_to_have_a_feature_is_tested():
    tested = {FAMILIES[family.config.model_type] for family in VISION_FAMILIES}
    assert tested == set(FAMILIES.values())
