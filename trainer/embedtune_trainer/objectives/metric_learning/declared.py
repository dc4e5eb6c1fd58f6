"""What the declarations of the library's losses and miners have in common."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from embedtune_api.base import ApiModel

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Distance = Literal["cosine", "euclidean", "sqeuclidean"]
Euclidean = Literal["euclidean", "sqeuclidean"]


class Declared(ApiModel):
    """Options by the names that the library's constructor has for them.

    Attributes:
        source: the paper.
        fixed_distance: the distance that it is given, where there is no choice and the library's
            own has not a gradient everywhere; None for the library's own.
    """

    source: ClassVar[str]
    fixed_distance: ClassVar[str | None] = None

    def arguments(self) -> dict[str, Any]:
        """What the library's constructor is called with; the distance by its name."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        if self.fixed_distance is not None:
            given["distance"] = self.fixed_distance
        return given


class LossOptions(Declared):
    """Options of a loss over labelled rows.

    Attributes:
        takes_miner: whether the library gives it the tuples of a miner.
        class_arguments: what it calls the number of classes and the embedding's dimension, if it
            has weights for each class.
    """

    takes_miner: ClassVar[bool] = True
    class_arguments: ClassVar[tuple[str, str] | None] = None


class ClassOptions(LossOptions):
    """Options of a loss that has weights for each class, and needs no two rows of one."""

    class_arguments: ClassVar[tuple[str, str] | None] = ("num_classes", "embedding_size")


class MinerOptions(Declared):
    """Options of a miner.

    Attributes:
        gives: triplets (anchor, positive, negative), or pairs of both kinds.
    """

    gives: ClassVar[Literal["pairs", "triplets"]] = "pairs"
