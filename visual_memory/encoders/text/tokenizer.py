"""CLIP's tokenizer: texts to rows of integers, exactly as published.

  tokenizer = load_tokenizer("bpe_simple_vocab_16e6.txt.gz")
  tokenizer(["a photo of a cat"])    # int32 [1, 77]: 49406 320 1125 ... 49407 0

Text is repaired, unescaped, folded and split by the published rules; words
become byte-level pairs through the `tokenizers` library (in Rust).

Reference: OpenAI CLIP, clip/simple_tokenizer.py and clip/clip.py `tokenize`.
"""

import functools
import gzip
import hashlib
import html
import importlib
import os
import pathlib
from collections.abc import Sequence
from types import ModuleType

import numpy as np
from jaxtyping import Int32

from visual_memory.encoders.published.places import Published, fetch

VOCABULARY = Published(
  url="https://github.com/openai/CLIP/raw/main/clip/bpe_simple_vocab_16e6.txt.gz",
  sha256="924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
)
"""The published vocabulary; see third_party/clip_vocabulary.md."""

CONTEXT_LENGTH = 77
"""Tokens in a row, with the start and the end mark."""

_REMEDY = f"Download {VOCABULARY.url} and pass its path as vocabulary."
_FILE_NAMES = (
  "bpe_simple_vocab_16e6.txt.gz",
  "clip_bpe_simple_vocab_16e6.txt.gz",
)
_START, _END, _END_OF_WORD = "<|startoftext|>", "<|endoftext|>", "</w>"
_NUM_LINES = 49152 - 256 - 2 + 1  # The file holds more; CLIP uses these.
# What counts as one word, the first alternative that matches, in any case: a
# mark, the end of a contraction, letters, one digit, or other visible symbols.
_WORD = (
  r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
  r"|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
)
_WORD_CACHE_SIZE = 2**15


class ClipTokenizer:
  """Byte-level pair encoding with CLIP's alphabet, marks and padding.

  Ids: 256 bytes, the same 256 at the end of a word, one for each merge, the
  start mark, the end mark. Build the published one with `load_tokenizer`.

  Attributes:
    vocabulary_size: the number of ids.
    start: id of the mark that begins each row.
    end: id of the mark that ends each text; the largest id there is.
    fingerprint: identifies the merges, hence every id.
  """

  def __init__(self, merges: Sequence[tuple[str, str]]):
    """A tokenizer that joins these pairs of symbols, the earliest first."""
    symbols = list(_byte_symbols().values())
    symbols += [symbol + _END_OF_WORD for symbol in symbols]
    symbols += ["".join(pair) for pair in merges]
    self._pairs = _require("tokenizers").models.BPE(
      vocab={symbol: index for index, symbol in enumerate(symbols)},
      merges=list(merges),
      end_of_word_suffix=_END_OF_WORD,
    )
    # `regex`, as published: `re` has no letter class and other Unicode tables.
    regex = _require("regex")
    self._find_words = regex.compile(_WORD, regex.IGNORECASE).findall
    # Words repeat, in prompts above all: nearly every one is a dict look-up.
    self._word_ids = functools.lru_cache(_WORD_CACHE_SIZE)(self._encode_word)
    self.start = len(symbols)
    self.end = len(symbols) + 1
    self.vocabulary_size = len(symbols) + 2
    self.fingerprint = hashlib.sha256("\n".join(symbols).encode()).hexdigest()

  def encode(self, text: str) -> list[int]:
    """The ids of one text of any length, without marks or padding."""
    ids = []
    for word in self._find_words(clean(text)):
      ids += self._word_ids(word)
    return ids

  def __call__(
    self, texts: Sequence[str], *, truncate: bool = False
  ) -> Int32[np.ndarray, "N 77"]:
    """One row for each text: the start mark, its ids, the end mark, zeros.

    Args:
      texts: any number of strings.
      truncate: cut texts that are too long to the first 76 tokens and the end
        mark, instead of raising.

    Raises:
      ValueError: something is not a string, or is too long; says which.
    """
    if isinstance(texts, str):
      raise ValueError(f"A list of texts is needed; got the text {texts!r}.")
    rows = np.zeros((len(texts), CONTEXT_LENGTH), np.int32)
    for index, text in enumerate(texts):
      check_text(index, text)
      ids = [self.start, *self.encode(text), self.end]
      if len(ids) > CONTEXT_LENGTH:
        if not truncate:
          raise ValueError(too_long(index, text, len(ids), CONTEXT_LENGTH))
        ids = [*ids[: CONTEXT_LENGTH - 1], self.end]
      rows[index, : len(ids)] = ids
    return rows

  def _encode_word(self, word: str) -> tuple[int, ...]:
    if word in (_START, _END):
      return (self.start if word == _START else self.end,)
    alphabet = _byte_symbols()
    symbols = "".join([alphabet[byte] for byte in word.encode()])
    return tuple([token.id for token in self._pairs.tokenize(symbols)])


def load_tokenizer(path: str | os.PathLike | None = None) -> ClipTokenizer:
  """The published CLIP tokenizer.

  Args:
    path: the vocabulary file; if None, the one in the directory
      VISUAL_MEMORY_DATA, or else downloaded and kept.

  Raises:
    FileNotFoundError: no such file; says where to get it.
    ValueError: the file is not the published one, byte for byte.
    OSError: it cannot be downloaded.
  """
  path = _find_vocabulary() if path is None else pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"There is no file {path}. {_REMEDY}")
  content = path.read_bytes()
  sha256 = hashlib.sha256(content).hexdigest()
  if sha256 != VOCABULARY.sha256:
    raise ValueError(
      f"{path} is damaged or not CLIP's vocabulary: its sha256 is {sha256},"
      f" not {VOCABULARY.sha256}. {_REMEDY}"
    )
  lines = gzip.decompress(content).decode().split("\n")
  # The first line is a heading.
  return ClipTokenizer([tuple(line.split()) for line in lines[1:_NUM_LINES]])


def clean(text: str) -> str:
  """The text as CLIP sees it: repaired, unescaped, single spaces, lower case.

  Broken encodings are repaired by `ftfy.fix_text`, HTML entities are replaced
  twice ("&amp;lt;" is "<").
  """
  # On printable ASCII without entities the first two steps change nothing.
  if "&" in text or not (text.isascii() and text.isprintable()):
    text = html.unescape(html.unescape(_require("ftfy").fix_text(text)))
  return " ".join(text.split()).lower()


@functools.cache
def _byte_symbols() -> dict[int, str]:
  """A visible character for each byte, those that are visible first.

  Bytes that are visible in Latin-1 stand for themselves, in order; the others
  follow, as the characters from U+0100 on. The order is that of the ids.
  """
  visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
  hidden = [byte for byte in range(0x100) if byte not in visible]
  symbols = {byte: chr(byte) for byte in visible}
  return symbols | {byte: chr(0x100 + i) for i, byte in enumerate(hidden)}


def _find_vocabulary() -> pathlib.Path:
  """The file in VISUAL_MEMORY_DATA, or else the one kept by `fetch`."""
  if folder := os.environ.get("VISUAL_MEMORY_DATA"):
    for name in _FILE_NAMES:
      path = pathlib.Path(folder) / name
      if path.is_file():
        return path
  try:
    return fetch(VOCABULARY, name="clip_vocabulary")
  except OSError as error:
    raise OSError(f"CLIP's vocabulary is not here. {_REMEDY}") from error


def check_text(index: int, text: str) -> None:
  """Raises ValueError unless it is a string."""
  if not isinstance(text, str):
    raise ValueError(f"Text {index} is not a string: {text!r}.")


def too_long(index: int, text: str, num_tokens: int, context: int) -> str:
  """The error for a text that does not fit into a row."""
  shown = text if len(text) <= 80 else f"{text[:77]}..."
  return (
    f"Text {index} ({shown!r}) has {num_tokens} tokens with its marks, and the"
    f" context is {context}. Shorten it, or pass truncate=True."
  )


def _require(module: str) -> ModuleType:
  """An optional module, or an error that says how to install it."""
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise ImportError(
      f"CLIP's tokenizer needs the package {module}:"
      " pip install 'visual_memory[pretrained]'"
    ) from error
