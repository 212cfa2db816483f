"""SigLIP's tokenizers: texts to rows that are padded to the full context.

  tokenizer = load_siglip_tokenizer("tokenizer.json", config)
  tokenizer(["a photo of a cat"])                     # int32 [1, 64]

The vocabulary comes with the weights: tokenizer.json, or a SentencePiece model
(spiece.model, tokenizer.model; needs the package sentencepiece). The text tower
sees padding and reads the last position, so rows are never cut.

Reference: Hugging Face transformers' SiglipTokenizer and Siglip2Tokenizer. The
first SigLIP was trained on texts in lower case without punctuation; SigLIP 2 on
texts in lower case.
"""

import hashlib
import pathlib
import string
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int32

from visual_memory.encoders.published.places import Place, extra
from visual_memory.encoders.settings import TextConfig
from visual_memory.encoders.text.tokenizer import check_text, too_long

FILES = ("tokenizer.json", "spiece.model", "tokenizer.model")
"""What a repository calls its vocabulary, the quicker first."""

_END = 1
_PADDING = {"siglip": 1, "siglip2": 0}
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class SiglipTokenizer:
  """Unigrams of SentencePiece with SigLIP's end mark and padding.

  Attributes:
    vocabulary_size: the number of ids.
    context_length: of each row.
    fingerprint: identifies the vocabulary and how texts are cleaned.
  """

  def __init__(
    self,
    split: Callable[[str], list[int]],
    *,
    config: TextConfig,
    fingerprint: str,
  ):
    """split gives the ids of a clean text, without marks."""
    self._split = split
    self._config = config
    self.vocabulary_size = config.vocabulary_size
    self.context_length = config.context_length
    self.fingerprint = fingerprint

  def __call__(
    self, texts: Sequence[str], *, truncate: bool = False
  ) -> Int32[np.ndarray, "N T"]:
    """One row for each text: its ids, the end mark, padding.

    Args:
      texts: any number of strings.
      truncate: cut texts that are too long, instead of raising.

    Raises:
      ValueError: something is not a string, or is too long; says which.
    """
    if isinstance(texts, str):
      raise ValueError(f"A list of texts is needed; got the text {texts!r}.")
    length = self.context_length
    padding = _PADDING[self._config.tokenizer]
    rows = np.full((len(texts), length), padding, np.int32)
    for index, text in enumerate(texts):
      check_text(index, text)
      ids = [*self._split(self._clean(text)), _END]
      if len(ids) > length:
        if not truncate:
          raise ValueError(too_long(index, text, len(ids), length))
        ids = [*ids[: length - 1], _END]
      rows[index, : len(ids)] = ids
    return rows

  def _clean(self, text: str) -> str:
    if self._config.tokenizer == "siglip":
      text = " ".join(text.translate(_PUNCTUATION).split())
    return text.lower()


def load_siglip_tokenizer(
  vocabulary: str | pathlib.Path | Place, config: TextConfig
) -> SiglipTokenizer:
  """The tokenizer of a SigLIP.

  Args:
    vocabulary: its file, or where the files of the weights are.
    config: of the text tower that it belongs to.

  Raises:
    ValueError: a damaged file, or one of another vocabulary.
    FileNotFoundError: there is none beside the weights; says what to do.
  """
  path = pathlib.Path(vocabulary) if not isinstance(vocabulary, Place) else None
  if path is None:
    found = (vocabulary.find(name) for name in FILES)
    path = next((file for file in found if file), None)
  if path is None or not path.is_file():
    raise FileNotFoundError(
      f"{getattr(vocabulary, 'name', vocabulary)} holds no vocabulary: neither"
      f" {' nor '.join(FILES)}. Pass its path as vocabulary."
    )
  split, size = _splitter(path)
  if size > config.vocabulary_size:
    raise ValueError(
      f"{path} has {size} ids and the text tower {config.vocabulary_size}: they"
      " do not belong together."
    )
  content = config.tokenizer.encode() + path.read_bytes()
  digest = hashlib.sha256(content).hexdigest()
  return SiglipTokenizer(split, config=config, fingerprint=digest)


def _splitter(path: pathlib.Path) -> tuple[Callable[[str], list[int]], int]:
  """What turns a text into ids, and how many ids there are."""
  try:
    if path.suffix == ".json":
      model = extra("tokenizers").Tokenizer.from_file(str(path))
      model.no_padding()
      model.no_truncation()
      split = lambda text: model.encode(text, add_special_tokens=False).ids
      return split, model.get_vocab_size()
    model = extra("sentencepiece").SentencePieceProcessor(model_file=str(path))
    return model.encode, model.vocab_size()
  except ImportError:
    raise
  except Exception as error:  # The libraries raise plain Exception.
    raise ValueError(
      f"{path} is damaged or no vocabulary ({error}); download it again."
    ) from error
