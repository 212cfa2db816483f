"""CLIP's tokenizer against published ids, the written rules, transformers."""

import dataclasses
import gzip
import hashlib
import html
import itertools
import json
import pathlib
import random
import unicodedata

import jaxtyping
import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="needs visual_memory[pretrained]")
ftfy = pytest.importorskip("ftfy", reason="needs visual_memory[pretrained]")
pytest.importorskip("regex", reason="needs visual_memory[pretrained]")

from visual_memory.encoders.text import templates as template_lists
from visual_memory.encoders.text import tokenizer as tokenizer_lib
from visual_memory.encoders.text.tokenizer import (
  VOCABULARY,
  ClipTokenizer,
  load_tokenizer,
)

VOCABULARY_FILE = "clip_bpe_simple_vocab_16e6.txt.gz"
TINY_MERGES = [
  ("l", "o"),
  ("lo", "w</w>"),
  ("e", "r</w>"),
  ("lo", "w"),
  ("'", "s</w>"),
  ("Ã", "©"),  # The two bytes of an e with an acute accent.
]
# Without marks; as computed by the rules of clip/simple_tokenizer.py.
GOLDENS = {
  "hello world": [3306, 1002],
  "a photo of a cat": [320, 1125, 539, 320, 2368],
  "a photo of a dog": [320, 1125, 539, 320, 1929],
  "a diagram": [320, 22697],
  "You should've done this": [592, 1535, 1200, 1700, 589],
  "tench": [1149, 634],
  "résumé": [29106, 7054, 4166],
  "a &amp; b": [320, 261, 321],
  "🐱": [22979],
  "!:(": [0, 5965],  # Id 0 is a token like any other.
  "$!~": [3, 0, 349],
}
CHARACTERS = (
  [chr(code) for code in range(0x250)]  # Controls, ASCII, Latin.
  + list("αβγДжяאבגदन中文字日本語한국어ภาษา")
  + list("🐱🎉👩‍👩‍👧🏽🇫🇷️⃣")
  + list("²½Ⅳ٣๓①")  # Numbers that are no ASCII digits.
  + list("\u2019\u201c\u2026\u2028\u3000\u00ad\u200b\ufeff\ufb01ÃƒÂ©")
)
PIECES = (
  "&amp;",
  "&amp;lt;",
  "&#233;",
  "&#x1F600;",
  "&#0;",
  "&nbsp;",
  "&bogus;",
  "<br>",
  "<|startoftext|>",
  "<|endoftext|>",
  "<|EndOfText|>",
  "'s",
  "'LL",
  "should've",
  "don\u2019t",
  "\r\n",
  "\t ",
  "rÃ©sumÃ©",
  "1234",
  "!!!",
  "\x1b[31m",
  "photograph",
  "Zürich",
)


class SlowTokenizer:
  """The published rules, one at a time; words split by Unicode categories."""

  def __init__(self, merges):
    symbols = [chr(b) for b in range(256) if visible(b)]
    symbols += [chr(256 + i) for i in range(256 - len(symbols))]
    order = sorted(range(256), key=lambda byte: not visible(byte))
    self.alphabet = dict(zip(order, symbols, strict=True))
    names = symbols + [symbol + "</w>" for symbol in symbols]
    names += [first + second for first, second in merges]
    names += ["<|startoftext|>", "<|endoftext|>"]
    self.ids = {name: index for index, name in enumerate(names)}
    self.ranks = {pair: rank for rank, pair in enumerate(merges)}

  def encode(self, text):
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    text = " ".join(text.split()).lower()
    return [i for word in split_words(text) for i in self.encode_word(word)]

  def encode_word(self, word):
    if word in ("<|startoftext|>", "<|endoftext|>"):
      return [self.ids[word]]
    symbols = [self.alphabet[byte] for byte in word.encode()]
    symbols[-1] += "</w>"
    while len(symbols) > 1:
      pairs = itertools.pairwise(symbols)
      best = min(pairs, key=lambda pair: self.ranks.get(pair, np.inf))
      if best not in self.ranks:
        break
      symbols = merge(symbols, best)
    return [self.ids[symbol] for symbol in symbols]


def visible(byte):
  return 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xFF and byte != 0xAD


def merge(symbols, pair):
  """Every occurrence of the pair joined, from left to right."""
  merged = []
  for symbol in symbols:
    if merged and (merged[-1], symbol) == pair:
      merged[-1] += symbol
    else:
      merged.append(symbol)
  return merged


def split_words(text):
  words, start = [], 0
  while start < len(text):
    length = word_length(text[start:])
    if length:
      words.append(text[start : start + length])
    start += length or 1
  return words


def word_length(text):
  for fixed in ("<|startoftext|>", "<|endoftext|>"):
    if text[: len(fixed)] == fixed:
      return len(fixed)
  for fixed in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d"):
    if text[: len(fixed)].casefold() == fixed:
      return len(fixed)
  kind = character_kind(text[0])
  if kind in ("number", "space"):
    return 1 if kind == "number" else 0
  same = itertools.takewhile(lambda c: character_kind(c) == kind, text)
  return len(list(same))


def character_kind(character):
  if character.isspace():
    return "space"
  category = unicodedata.category(character)[0]
  return {"L": "letter", "N": "number"}.get(category, "other")


def random_texts(count):
  draw = random.Random(0)
  texts = ["", " ", "\x00", "a" * 10_000, "ab 1!é " * 1430, "low" * 3333]
  while len(texts) < count:
    length = draw.randrange(1, 40)
    pool = CHARACTERS if draw.random() < 0.5 else CHARACTERS[32:127]
    parts = draw.choices(pool, k=length)
    for piece in draw.choices(PIECES, k=draw.randrange(4)):
      parts.insert(draw.randrange(len(parts) + 1), piece)
    if all_assigned(text := "".join(parts)):
      texts.append(text)
  return texts


def all_assigned(text):
  """Whether Python knows every character: `regex` has newer Unicode tables.

  Repairing broken encodings can bring forth almost any character.
  """
  repaired = html.unescape(html.unescape(ftfy.fix_text(text)))
  return all(unicodedata.category(c) != "Cn" for c in repaired)


@pytest.fixture(scope="module")
def published(data_file):
  return load_tokenizer(data_file(VOCABULARY_FILE))


@pytest.fixture(scope="module")
def published_merges(data_file):
  with gzip.open(data_file(VOCABULARY_FILE), "rt", encoding="utf-8") as file:
    return [tuple(line.split()) for line in file.readlines()[1:48895]]


def test_tiny_vocabulary_by_hand():
  tokenizer = ClipTokenizer(TINY_MERGES)
  letter = {character: ord(character) - ord("!") for character in "lowea"}
  assert tokenizer.encode("low") == [513]
  assert tokenizer.encode("LOWER") == [515, 514]
  assert tokenizer.encode("low's") == [513, 516]
  assert tokenizer.encode("ol") == [letter["o"], 256 + letter["l"]]
  assert tokenizer.encode("\u00e9a") == [517, 256 + letter["a"]]
  assert tokenizer.encode("low<|endoftext|>") == [513, 519]
  assert (tokenizer.start, tokenizer.end) == (518, 519)
  assert tokenizer.vocabulary_size == 520


def test_tiny_vocabulary_equals_the_rules():
  fast, slow = ClipTokenizer(TINY_MERGES), SlowTokenizer(TINY_MERGES)
  for text in random_texts(300):
    assert fast.encode(text) == slow.encode(text), text


def test_marks_padding_and_shapes():
  tokenizer = ClipTokenizer(TINY_MERGES)
  rows = tokenizer(["low", "", "lower low"])
  assert rows.shape == (3, 77) and rows.dtype == np.int32
  assert rows[0, :4].tolist() == [518, 513, 519, 0]
  assert rows[1, :3].tolist() == [518, 519, 0]
  assert rows[2, :6].tolist() == [518, 515, 514, 513, 519, 0]
  assert not rows[:, 6:].any()
  assert tokenizer([]).shape == (0, 77)


def test_long_texts_raise_or_are_cut():
  tokenizer = ClipTokenizer(TINY_MERGES)
  fits, long = "low " * 75, "low " * 76
  assert tokenizer([fits])[0].tolist() == [518] + [513] * 75 + [519]
  with pytest.raises(
    ValueError, match=r"Text 1 \('low low.*78 tokens.*truncate"
  ):
    tokenizer([fits, long])
  cut = tokenizer([long], truncate=True)[0]
  assert cut.tolist() == [518] + [513] * 75 + [519]


@pytest.mark.parametrize(
  ("texts", "problem"),
  [("a cat", "list of texts"), (["a", 3], "Text 1 .* 3"), ([b"a"], "Text 0")],
)
def test_only_lists_of_strings(texts, problem, monkeypatch):
  # Without the checks of annotations, as outside of the tests.
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
  with pytest.raises(ValueError, match=problem):
    ClipTokenizer(TINY_MERGES)(texts)


def test_fast_cleaning_changes_nothing():
  draw = random.Random(1)
  printable = [chr(code) for code in range(0x20, 0x7F) if chr(code) != "&"]
  texts = ["".join(draw.choices(printable, k=60)) for _ in range(300)]
  assert [ftfy.fix_text(text) for text in texts] == texts
  assert [html.unescape(text) for text in texts] == texts


def test_vocabulary_file_is_verified(tmp_path, monkeypatch):
  path = tmp_path / VOCABULARY_FILE
  with pytest.raises(FileNotFoundError, match="Download https://"):
    load_tokenizer(path)
  path.write_bytes(gzip.compress(b"#version\nl o\n"))
  sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
  with pytest.raises(ValueError, match=f"damaged.*{sha256}"):
    load_tokenizer(path)
  monkeypatch.setenv("VISUAL_MEMORY_DATA", str(tmp_path))
  with pytest.raises(ValueError, match="damaged"):
    load_tokenizer()


def test_vocabulary_is_fetched_where_there_is_none(tmp_path, monkeypatch):
  monkeypatch.setenv("VISUAL_MEMORY_DATA", str(tmp_path))
  monkeypatch.setenv("VISUAL_MEMORY_CACHE", str(tmp_path / "cache"))
  absent = dataclasses.replace(VOCABULARY, url=f"file://{tmp_path}/absent.gz")
  monkeypatch.setattr(tokenizer_lib, "VOCABULARY", absent)
  with pytest.raises(OSError, match="not here. Download .* as vocabulary"):
    load_tokenizer()


def test_published_vocabulary_is_found(data_file, tmp_path, monkeypatch):
  path = pathlib.Path(data_file(VOCABULARY_FILE)).resolve()
  monkeypatch.setenv("VISUAL_MEMORY_DATA", str(path.parent))
  assert load_tokenizer().vocabulary_size == 49408
  monkeypatch.setenv("VISUAL_MEMORY_DATA", str(tmp_path))
  monkeypatch.setenv("VISUAL_MEMORY_CACHE", str(tmp_path / "cache"))
  here = dataclasses.replace(VOCABULARY, url=path.as_uri())
  monkeypatch.setattr(tokenizer_lib, "VOCABULARY", here)
  assert load_tokenizer().vocabulary_size == 49408


def test_missing_package_names_the_extra(monkeypatch):
  def absent(name):
    raise ImportError(name)

  monkeypatch.setattr(tokenizer_lib.importlib, "import_module", absent)
  with pytest.raises(ImportError, match=r"visual_memory\[pretrained\]"):
    ClipTokenizer(TINY_MERGES)


def test_published_ids(published):
  for text, ids in GOLDENS.items():
    assert published.encode(text) == ids, text
  assert published.vocabulary_size == 49408
  row = published(["a photo of a cat"])[0]
  assert row[:8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]


def test_published_vocabulary_equals_the_rules(published, published_merges):
  slow = SlowTokenizer(published_merges)
  texts = random_texts(5000)
  wrong = [t for t in texts if published.encode(t) != slow.encode(t)]
  assert not wrong


def test_equals_transformers_on_clean_text(
  published, published_merges, tmp_path
):
  reason = "transformers is not installed: no second implementation here"
  transformers = pytest.importorskip("transformers", reason=reason)
  vocabulary = SlowTokenizer(published_merges).ids
  (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
  merges = "\n".join(" ".join(pair) for pair in published_merges)
  (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
  theirs = transformers.CLIPTokenizerFast.from_pretrained(tmp_path)
  words = (
    "A photo of the Zürich café, dog's 1984 (50%) résumé - don't! #7".split()
  )
  draw = random.Random(2)
  texts = [" ".join(draw.choices(words, k=12)) for _ in range(200)]
  rows = published(texts)
  for text, row in zip(texts, rows, strict=True):
    expected = theirs(text)["input_ids"]
    assert row[: len(expected)].tolist() == expected, text


def test_every_imagenet_prompt_fits(published):
  names = ["missile", "hen of the woods mushroom", "yellow lady's slipper"]
  texts = [
    template_lists.fill(template, name)
    for template in template_lists.templates("imagenet_80")
    for name in names
  ]
  lengths = published(texts).argmax(1) + 1
  assert lengths.max() <= 22


def test_imagenet_templates_are_the_published_ones():
  eighty = template_lists.templates("imagenet_80")
  digest = hashlib.sha256("\n".join(sorted(eighty)).encode()).hexdigest()
  # Of the sorted list in Prompt_Engineering_for_ImageNet.ipynb, cell 10.
  assert digest == (
    "a8a4822f2921936e2ef07cf2e7a5df69be9532aab2f3f4880156bb03563e2467"
  )
  assert len(eighty) == 80
  seven = template_lists.templates("imagenet_7")
  assert len(set(seven)) == 7 and set(seven) <= set(eighty)


@pytest.mark.parametrize("name", template_lists.TEMPLATES)
def test_templates_can_be_filled(name):
  for template in template_lists.templates(name):
    assert " polar bear" in " " + template_lists.fill(template, "polar_bear")


def test_bad_templates_raise():
  assert template_lists.fill("the {}.", "{odd} %s") == "the {odd} %s."
  with pytest.raises(ValueError, match="0 places"):
    template_lists.fill("a photo.", "cat")
  with pytest.raises(ValueError, match="2 places"):
    template_lists.fill("{} and {}.", "cat")
  with pytest.raises(ValueError, match="No templates.*'imagnet'.*imagenet_80"):
    template_lists.templates("imagnet")
