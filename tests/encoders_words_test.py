"""Search by words and zero-shot heads; SigLIP's rows of ids."""

import dataclasses
import functools
import json

import jax
import numpy as np
import published_layouts
import pytest

for package in ("tokenizers", "ftfy", "regex", "safetensors"):
  pytest.importorskip(package, reason="needs visual_memory[pretrained]")

import tokenizers
from golden import make_encoder_goldens as goldens
from safetensors.numpy import save_file

import visual_memory as vm
from visual_memory.encoders.families import catalog
from visual_memory.encoders.settings import TextConfig
from visual_memory.encoders.text import (
  class_texts,
  siglip_tokenizer,
  text_encoder,
)
from visual_memory.encoders.text.tokenizer import ClipTokenizer

TOKENIZER = ClipTokenizer([("c", "a"), ("ca", "t</w>"), ("d", "o</w>")])


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
  """A small CLIP of both towers in transformers' layout."""
  folder = tmp_path_factory.mktemp("clip")
  text = dataclasses.replace(
    goldens.TINY_TEXT,
    vocabulary_size=TOKENIZER.vocabulary_size,
    context_length=77,
  )
  layout = published_layouts.hugging_face_clip(goldens.TINY["clip"], text)
  tensors = published_layouts.random_tensors(layout, seed=2)
  save_file(tensors, folder / "model.safetensors")
  tower = {
    "num_hidden_layers": 2,
    "hidden_size": 48,
    "image_size": 28,
    "patch_size": 4,
    "num_attention_heads": 3,
    "intermediate_size": 192,
  }
  config = {
    "model_type": "clip", "projection_dim": 24, "vision_config": tower,
    "text_config": {"num_hidden_layers": 2, "hidden_size": 32,
                    "vocab_size": text.vocabulary_size,
                    "num_attention_heads": 2, "intermediate_size": 128},
  }  # fmt: skip
  (folder / "config.json").write_text(json.dumps(config))
  return folder


@pytest.fixture
def encoder(repository, monkeypatch):
  monkeypatch.setattr(text_encoder, "load_tokenizer", lambda path: TOKENIZER)
  class_texts._loaded.cache_clear()
  yield vm.load_encoder(str(repository))
  class_texts._loaded.cache_clear()


def test_a_memory_of_images_is_asked_by_words(encoder):
  texts = ["a cat", "do do do", "an old map"]
  queries = vm.embed_texts(encoder, texts)
  assert queries.shape == (3, 24) and queries.dtype == np.float32
  random = np.random.default_rng(0)
  rows = queries + 0.05 * random.normal(size=(3, 24)).astype("f")
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  memory = vm.VisualMemory.from_embedded(
    vm.embedded_set(
      rows, np.arange(3), ["x", "y", "z"], class_names=("a", "b", "c"),
      fingerprint=encoder.fingerprint,
    )
  )  # fmt: skip
  near = vm.search(queries, memory, k=1)
  assert near.ids[:, 0].tolist() == ["x", "y", "z"]


def test_the_text_tower_is_that_of_the_same_file(encoder, repository):
  alone = text_encoder.load_text_encoder(str(repository))
  np.testing.assert_array_equal(
    vm.embed_texts(encoder, ["a cat"]), alone.encode_texts(["a cat"])
  )
  assert class_texts.text_encoder_of(encoder) is class_texts.text_encoder_of(
    encoder
  )


def test_a_head_of_class_names_is_a_memory(encoder):
  names = ("cat", "polar_bear", "do")
  head = vm.embed_classes(encoder, names, templates=["a {}", "the {}"])
  assert head.fingerprint == encoder.fingerprint
  assert list(head.ids) == ["text/cat", "text/polar_bear", "text/do"]
  texts = vm.embed_texts(encoder, ["a polar bear", "the polar bear"])
  mean = texts.mean(axis=0)
  np.testing.assert_allclose(
    head.embeddings[1], mean / np.linalg.norm(mean), atol=1e-6
  )
  memory = vm.VisualMemory.from_embedded(head)
  near = vm.search(head.embeddings, memory, k=1)
  assert near.labels[:, 0].tolist() == [0, 1, 2]


def test_an_encoder_without_words_says_which_have_them(encoder):
  for plain in (vm.load_encoder("pixels"), vm.load_encoder("vit_random")):
    with pytest.raises(ValueError, match="no text tower.*clip_vitb32"):
      vm.embed_texts(plain, ["a cat"])
  with pytest.raises(ValueError, match="list of texts"):
    vm.embed_texts(encoder, "a cat")


def test_a_text_tower_without_words_of_its_own_is_refused(encoder):
  wide = dataclasses.replace(encoder, dim=48)
  with pytest.raises(ValueError, match="gives 48 values an image"):
    vm.embed_texts(wide, ["a cat"])


# SigLIP's tokenizers.


@pytest.fixture(scope="module")
def unigrams(tmp_path_factory):
  """A vocabulary of letters, as a repository has it."""
  vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0)]
  vocabulary += [(letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz!"]
  model = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, 2))
  model.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
  path = tmp_path_factory.mktemp("siglip") / "tokenizer.json"
  model.save(str(path))
  return path


def config_of(version):
  return TextConfig(
    width=8, depth=1, num_heads=1, dim=8, vocabulary_size=40,
    context_length=8, causal=False, tokenizer=version,
  )  # fmt: skip


@pytest.mark.parametrize(
  ("version", "expected"),
  [
    # Space, a, b; no punctuation; the end mark, which is the padding, too.
    ("siglip", [3, 4, 5, 1, 1, 1, 1, 1]),
    ("siglip2", [3, 4, 5, 30, 1, 0, 0, 0]),
  ],
)
def test_rows_of_ids(unigrams, version, expected):
  tokenizer = siglip_tokenizer.load_siglip_tokenizer(
    unigrams, config_of(version)
  )
  assert tokenizer(["Ab!"]).tolist() == [expected]
  long = tokenizer(["abcdefghij"], truncate=True)[0]
  assert long.tolist() == [3, 4, 5, 6, 7, 8, 9, 1]
  with pytest.raises(ValueError, match="Text 1 .*has 12 tokens.*context is 8"):
    tokenizer(["a", "abcdefghij"])


def test_vocabularies_that_do_not_belong(unigrams, tmp_path):
  load = siglip_tokenizer.load_siglip_tokenizer
  small = dataclasses.replace(config_of("siglip"), vocabulary_size=10)
  with pytest.raises(ValueError, match="31 ids and the text tower 10"):
    load(unigrams, small)
  bad = tmp_path / "tokenizer.json"
  bad.write_text("{")
  with pytest.raises(ValueError, match="damaged or no vocabulary"):
    load(bad, small)
  with pytest.raises(FileNotFoundError, match="holds no vocabulary"):
    load(tmp_path / "absent.json", small)


def test_a_sigmoid_tower_runs_all_its_positions(unigrams):
  """Padding is read, so rows are neither cut nor alike in length."""
  from visual_memory.encoders.text import text_tower

  config = config_of("siglip2")
  encoder = text_encoder.make_text_encoder(
    "siglip", params=jax.jit(lambda: text_tower.init(config, seed=0))(),
    config=config,
    tokenizer=siglip_tokenizer.load_siglip_tokenizer(unigrams, config),
    weights_fingerprint="test",
  )  # fmt: skip
  texts = ["a", "ab", "abcdef"]
  tokens = encoder.tokenizer(texts)
  forward = jax.jit(functools.partial(text_tower.forward, config=config))
  expected = np.array(forward(encoder.params, tokens))
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  np.testing.assert_allclose(encoder.encode_texts(texts), expected, atol=1e-6)
  assert catalog.MODELS["siglip2_vitb16_224"].text.tokenizer == "siglip2"
  assert isinstance(encoder.logit_bias, float)
  assert jax.tree.leaves(encoder.params)
