"""docs/hub-models.md is what the lists of families say."""

from embedtune_trainer.embedder.vision_families import FAMILIES
from tests.trainer.hub.document import PLACE, document
from tests.trainer.hub.vision_families import VISION_FAMILIES


def test_the_page_is_up_to_date():
    assert PLACE.read_text(encoding="utf-8") == document(), "run make generate"


def test_every_way_to_have_a_feature_is_tested():
    tested = {FAMILIES[family.config.model_type] for family in VISION_FAMILIES}
    assert tested == set(FAMILIES.values())
