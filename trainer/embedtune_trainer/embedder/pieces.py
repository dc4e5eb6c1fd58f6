"""A tokenizer out of a sentencepiece model alone, without the library of that name.

transformers makes SigLIP's from spiece.model in Python; here the tokenizers library runs it. Only
behind a special token that is quoted in a text, such as </s>, they differ, in a word's beginning.
"""

from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import Unigram
from tokenizers.normalizers import Precompiled
from tokenizers.pre_tokenizers import Metaspace, WhitespaceSplit
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

PIECES: Final = "spiece.model"
UNIGRAM: Final = 1
"""sentencepiece's number of the model that T5's and SigLIP's tokenizers are."""
END: Final = "</s>"


class FromPieces:
    """Loads what load_tokenizer loads, from spiece.model."""

    @staticmethod
    def from_pretrained(folder: str, **_: object) -> Any:  # noqa: ANN401  transformers leaves it untyped
        """SigLIP's tokenizer: texts end by </s>, which is also the padding.

        Raises:
            ValueError: it is no sentencepiece model, or of another kind.
        """
        from transformers.utils import sentencepiece_model_pb2_new

        messages: Any = sentencepiece_model_pb2_new
        proto = messages.ModelProto()
        try:
            proto.ParseFromString((Path(folder) / PIECES).read_bytes())
        except DecodeError as error:
            raise ValueError(f"{PIECES} is no sentencepiece model: {error}") from error
        if proto.trainer_spec.model_type != UNIGRAM:
            raise ValueError(f"{PIECES} is no unigram model, as SigLIP's is")
        scores = [(piece.piece, piece.score) for piece in proto.pieces]
        unknown = proto.trainer_spec.unk_id
        tokenizer = Tokenizer(Unigram(scores, unk_id=unknown, byte_fallback=False))
        if charsmap := proto.normalizer_spec.precompiled_charsmap:
            tokenizer.normalizer = Precompiled(charsmap)
        words = [WhitespaceSplit(), Metaspace(prepend_scheme="always")]
        tokenizer.pre_tokenizer = PreTokenizers(words)
        end = tokenizer.token_to_id(END)
        tokenizer.post_processor = TemplateProcessing(
            single=f"$A {END}", special_tokens=[(END, end)]
        )
        special = {"eos_token": END, "pad_token": END, "unk_token": scores[unknown][0]}
        made: Any = PreTrainedTokenizerFast
        return made(
            tokenizer_object=tokenizer,
            **{
                name: AddedToken(token, lstrip=True, rstrip=True, normalized=False, special=True)
                for name, token in special.items()
            },
        )
