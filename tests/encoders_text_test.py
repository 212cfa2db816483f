"""CLIP's text tower and zero-shot classifiers against slow references."""

import dataclasses

import jax
import numpy as np
import pytest

for package in ("tokenizers", "ftfy", "regex"):
  pytest.importorskip(package, reason="needs visual_memory[pretrained]")

from visual_memory.encoders import vit
from visual_memory.encoders.families import catalog
from visual_memory.encoders.settings import TextConfig
from visual_memory.encoders.text import class_texts, text_encoder, text_tower
from visual_memory.encoders.text.class_texts import (
  text_classifier,
  zero_shot_classifier,
  zero_shot_logits,
)
from visual_memory.encoders.text.templates import fill
from visual_memory.encoders.text.text_encoder import (
  load_text_encoder,
  make_text_encoder,
)
from visual_memory.encoders.text.tokenizer import ClipTokenizer

TOKENIZER = ClipTokenizer([("c", "a"), ("ca", "t</w>"), ("d", "o</w>")])
TINY = TextConfig(width=48, depth=2, num_heads=3, dim=16, vocabulary_size=517)
DEEP = dataclasses.replace(TINY, depth=12, width=64, num_heads=4)
FORWARD = jax.jit(text_tower.forward, static_argnames=("config", "precision"))
TEXTS = ["a cat", "", "$!~ cat", "a photo of a large polar bear.", "do " * 75]


def random_params(config, *, seed=0):
  """Every tensor random, at scales that keep activations near one."""
  draw = np.random.default_rng(seed)

  def leaf(path, shape):
    name = path[-1].key
    values = draw.normal(size=shape.shape)
    if name == "kernel":
      values /= np.sqrt(shape.shape[0])
    elif name == "scale":
      values = 1 + 0.3 * values
    return values.astype(np.float32)

  return jax.tree_util.tree_map_with_path(leaf, text_tower.shapes(config))


def slow_forward(params, tokens, config):
  """One text after the other, in float64, by the formulas."""
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  return np.stack([slow_embedding(params, row, config) for row in tokens])


def slow_embedding(params, tokens, config):
  x = (
    params["token_embedding"][tokens]
    + params["position_embedding"][: len(tokens)]
  )
  for index in range(config.depth):
    block = params["blocks"][index]
    attended = slow_attention(block["attn"], norm(x, block["norm1"]), config)
    x = x + attended
    hidden = linear(norm(x, block["norm2"]), block["mlp"]["fc1"])
    hidden = hidden / (1 + np.exp(-1.702 * hidden))
    x = x + linear(hidden, block["mlp"]["fc2"])
  end = int(np.flatnonzero(tokens == config.vocabulary_size - 1)[0])
  return norm(x, params["norm"])[end] @ params["projection"]["kernel"]


def slow_attention(attn, x, config):
  qkv = linear(x, attn["qkv"])
  size, heads = config.width // config.num_heads, []
  for head in range(config.num_heads):
    q, k, v = (
      qkv[:, part * config.width + head * size :][:, :size] for part in range(3)
    )
    scores = q @ k.T / np.sqrt(size)
    scores[np.triu_indices(len(x), 1)] = -np.inf
    shares = np.exp(scores - scores.max(1, keepdims=True))
    heads.append(shares / shares.sum(1, keepdims=True) @ v)
  return linear(np.concatenate(heads, 1), attn["proj"])


def linear(x, layer):
  return x @ layer["kernel"] + layer["bias"]


def norm(x, layer):
  x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
  return x * layer["scale"] + layer["bias"]


def unit(rows):
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def encoder():
  return make_text_encoder(
    "tiny",
    params=random_params(TINY),
    config=TINY,
    tokenizer=TOKENIZER,
    weights_fingerprint="seed 0",
  )


def test_forward_equals_float64_reference(encoder):
  tokens = TOKENIZER(TEXTS)
  output = FORWARD(encoder.params, tokens, config=TINY)
  expected = slow_forward(encoder.params, tokens, TINY)
  assert output.dtype == np.float32 and output.shape == (5, 16)
  np.testing.assert_allclose(output, expected, atol=1e-5, rtol=1e-4)


def test_encode_texts_are_unit_rows_of_the_whole_length(encoder):
  embeddings = encoder.encode_texts(TEXTS)
  expected = unit(slow_forward(encoder.params, TOKENIZER(TEXTS), TINY))
  assert embeddings.dtype == np.float32
  np.testing.assert_allclose(embeddings, expected, atol=2e-6)


def test_cutting_rows_is_exact(encoder):
  tokens = TOKENIZER(TEXTS[:3])
  whole = FORWARD(encoder.params, tokens, config=TINY)
  cut = FORWARD(encoder.params, tokens[:, :8], config=TINY)
  np.testing.assert_allclose(cut, whole, atol=2e-6)


def test_texts_are_independent_and_in_order(encoder):
  alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
  order = [4, 0, 3, 0, 2, 1, 4]
  together = encoder.encode_texts([TEXTS[index] for index in order])
  np.testing.assert_array_equal(together, alone[order])
  assert encoder.encode_texts([]).shape == (0, 16)


def test_one_program_for_many_texts_and_no_text_twice(encoder, monkeypatch):
  shapes = []
  compiled = text_encoder._unit_embeddings

  def counted(params, tokens, *static):
    shapes.append(tokens.shape)
    return compiled(params, tokens, *static)

  monkeypatch.setattr(text_encoder, "_unit_embeddings", counted)
  texts = [f"{a}{b}" for a in "abcdefghij" for b in "abcdefghijklmnopqrst"]
  encoder.encode_texts(texts * 3)
  assert shapes == [(128, 8)] * 2
  programs = compiled._cache_size()
  encoder.encode_texts([f"{text}x" for text in texts * 2])
  assert compiled._cache_size() == programs


def test_long_texts(encoder):
  long = "do " * 76
  with pytest.raises(ValueError, match="Text 1 .*78 tokens"):
    encoder.encode_texts(["a cat", long])
  cut = encoder.encode_texts([long], truncate=True)
  np.testing.assert_array_equal(cut, encoder.encode_texts(["do " * 75]))


def test_bfloat16_is_close(encoder):
  fast = dataclasses.replace(encoder, precision="bfloat16")
  exact, rounded = encoder.encode_texts(TEXTS), fast.encode_texts(TEXTS)
  cosines = np.sum(exact * rounded, axis=1)
  assert cosines.min() > 0.999 and not np.array_equal(exact, rounded)


def test_fingerprint_tells_encoders_apart(encoder):
  def fingerprint(**changes):
    parts = {
      "params": encoder.params,
      "config": TINY,
      "tokenizer": TOKENIZER,
      "weights_fingerprint": "seed 0",
    }
    return make_text_encoder("tiny", **(parts | changes)).fingerprint

  other = ClipTokenizer([("c", "a"), ("ca", "t</w>"), ("d", "e")])
  assert fingerprint() == encoder.fingerprint
  changed = {
    fingerprint(weights_fingerprint="seed 1"),
    fingerprint(precision="bfloat16"),
    fingerprint(tokenizer=other),
    fingerprint(),
  }
  assert len(changed) == 4


def test_foreign_tokenizer_raises(encoder):
  with pytest.raises(ValueError, match="514 ids and the text tower 517"):
    make_text_encoder(
      "tiny",
      params=encoder.params,
      config=TINY,
      tokenizer=ClipTokenizer([]),
      weights_fingerprint="seed 0",
    )


def test_forward_refuses_what_it_cannot_do(encoder):
  with pytest.raises(ValueError, match="Rows of 78 tokens .* for 77"):
    text_tower.forward(encoder.params, np.zeros((1, 78), np.int32), config=TINY)
  with pytest.raises(ValueError, match="'fp8'"):
    text_tower.forward(
      encoder.params, TOKENIZER(["a"]), config=TINY, precision="fp8"
    )


def test_zero_shot_classifier_by_loops(encoder, monkeypatch):
  monkeypatch.setattr(
    class_texts, "_TEXTS_AT_ONCE", 4
  )  # Two classes at a time.
  names = ["cat", "polar_bear", "do", "cat", "$!~"]
  templates = ["a photo of a {}.", "the {}"]
  classifier = zero_shot_classifier(encoder, names, templates)
  assert classifier.shape == (5, 16) and classifier.dtype == np.float32
  for name, row in zip(names, classifier, strict=True):
    texts = [fill(template, name) for template in templates]
    mean = unit(slow_forward(encoder.params, TOKENIZER(texts), TINY)).mean(0)
    np.testing.assert_allclose(row, unit(mean), atol=2e-6)


def test_classes_with_texts_of_their_own(encoder):
  texts = [["a cat", "the cat", "cat"], ["do"], ["a bear", "a cat"]]
  classifier = text_classifier(encoder, texts)
  for of_class, row in zip(texts, classifier, strict=True):
    mean = unit(slow_forward(encoder.params, TOKENIZER(of_class), TINY)).mean(0)
    np.testing.assert_allclose(row, unit(mean), atol=2e-6)


def test_zero_shot_errors_name_the_item(encoder):
  with pytest.raises(ValueError, match="at least one class"):
    zero_shot_classifier(encoder, [], ["a {}."])
  with pytest.raises(ValueError, match=r"Class 0 needs .* \[\]"):
    zero_shot_classifier(encoder, ["cat"], [])
  with pytest.raises(ValueError, match="Class 1 needs .* 'dog'"):
    text_classifier(encoder, [["cat"], "dog"])
  with pytest.raises(ValueError, match="0 places"):
    zero_shot_classifier(encoder, ["cat"], ["a photo"])


def test_logits_are_scaled_cosines():
  embeddings = unit(np.random.default_rng(0).normal(size=(3, 16)))
  classifier = unit(np.random.default_rng(1).normal(size=(5, 16)))
  logits = zero_shot_logits(
    embeddings.astype(np.float32),
    classifier.astype(np.float32),
    logit_scale=float(np.log(100)),
  )
  np.testing.assert_allclose(logits, 100 * embeddings @ classifier.T, atol=1e-4)


@pytest.mark.parametrize(
  ("name", "total"),
  [("clip_vitb16", 149_620_737), ("clip_vitl14_336", 427_944_193)],
)
def test_both_towers_have_the_published_number_of_params(name, total):
  towers = (
    text_tower.shapes(catalog.MODELS[name].text),
    vit.shapes(catalog.MODELS[name].image),
  )
  assert sum(x.size for x in jax.tree.leaves(towers)) == total


def openai_tensors(params):
  """The params under OpenAI's names, as an archive of theirs holds them."""
  half = np.float16
  tensors = {
    "token_embedding.weight": params["token_embedding"],
    "positional_embedding": params["position_embedding"],
    "text_projection": params["projection"]["kernel"].astype(half),
    "logit_scale": params["logit_scale"],
    "ln_final.weight": params["norm"]["scale"],
    "ln_final.bias": params["norm"]["bias"],
    "input_resolution": np.array(224),
    "visual.proj": np.zeros((8, 16), half),  # Of the image tower: not used.
  }
  for index, block in params["blocks"].items():
    layer = f"transformer.resblocks.{index}"
    for ours, theirs in (
      (block["attn"]["qkv"], "attn.in_proj_"),
      (block["attn"]["proj"], "attn.out_proj."),
      (block["mlp"]["fc1"], "mlp.c_fc."),
      (block["mlp"]["fc2"], "mlp.c_proj."),
    ):
      tensors[f"{layer}.{theirs}weight"] = ours["kernel"].T.astype(half)
      tensors[f"{layer}.{theirs}bias"] = ours["bias"].astype(half)
    for number in (1, 2):
      for ours, theirs in (("scale", "weight"), ("bias", "bias")):
        value = block[f"norm{number}"][ours]
        tensors[f"{layer}.ln_{number}.{theirs}"] = value
  return {name: np.array(value, order="C") for name, value in tensors.items()}


def as_stored(params):
  """Kernels and linear biases rounded to float16, as published."""

  def stored(path, leaf):
    names = [getattr(key, "key", None) for key in path]
    linear_leaf = names[-1] in ("kernel", "bias") and "norm" not in str(names)
    return leaf.astype(np.float16).astype(np.float32) if linear_leaf else leaf

  return jax.tree_util.tree_map_with_path(stored, params)


def publish(monkeypatch, name, text):
  """Puts a CLIP with this text tower among the published models."""
  model = dataclasses.replace(catalog.MODELS["clip_vitb32"], text=text)
  monkeypatch.setitem(catalog.MODELS, name, model)
  monkeypatch.setitem(catalog.FAMILY_OF, name, catalog.FAMILIES["clip"])


@pytest.fixture
def tiny_model(monkeypatch):
  """The tiny tower and vocabulary, as if they had been published."""
  publish(monkeypatch, "clip_tiny", TINY)
  monkeypatch.setattr(text_encoder, "load_tokenizer", lambda path: TOKENIZER)


def test_openai_layout_round_trip(tiny_model, tmp_path):
  save_file = safetensors_or_skip()
  params = random_params(TINY)
  save_file(openai_tensors(params), path := tmp_path / "clip.safetensors")
  loaded = load_text_encoder("clip_tiny", path)
  jax.tree.map(np.testing.assert_array_equal, loaded.params, as_stored(params))
  assert (loaded.name, loaded.dim) == ("clip_tiny", 16)
  assert loaded.logit_scale == float(params["logit_scale"])
  again = load_text_encoder("clip_tiny", path)
  assert again.fingerprint == loaded.fingerprint


@pytest.mark.parametrize(
  ("spoil", "problem"),
  [
    (lambda t: t.pop("ln_final.bias"), r"missing: ln_final.bias \[48\]"),
    (lambda t: t.update(extra=t["logit_scale"]), "unexpected: extra"),
    (
      lambda t: t.update(text_projection=t["text_projection"].T.copy()),
      r"text_projection has shape \[16, 48\], expected \[48, 16\]",
    ),
  ],
)
def test_files_that_do_not_fit(tiny_model, tmp_path, spoil, problem):
  save_file = safetensors_or_skip()
  tensors = openai_tensors(random_params(TINY))
  spoil(tensors)
  save_file(tensors, path := tmp_path / "clip.safetensors")
  with pytest.raises(ValueError, match=problem):
    load_text_encoder("clip_tiny", path)


def test_load_names_what_is_known(tiny_model, tmp_path):
  with pytest.raises(ValueError, match="'dinov2_vits14' .*clip_vitb32"):
    load_text_encoder("dinov2_vits14")
  with pytest.raises(FileNotFoundError, match="absent"):
    load_text_encoder("clip_tiny", tmp_path / "absent")


def safetensors_or_skip():
  safetensors = pytest.importorskip(
    "safetensors.numpy", reason="needs visual_memory[pretrained]"
  )
  return safetensors.save_file


@pytest.mark.parametrize(
  "name",
  [
    "clip_deep",
    pytest.param("clip_vitb32", marks=pytest.mark.slow),
    pytest.param("clip_vitl14", marks=pytest.mark.slow),
  ],
)
def test_equals_transformers(name, tmp_path, monkeypatch, request):
  reason = "torch and transformers are not installed: no live comparison"
  torch = pytest.importorskip("torch", reason=reason)
  transformers = pytest.importorskip("transformers", reason=reason)
  publish(monkeypatch, "clip_deep", DEEP)
  if name == "clip_deep":
    monkeypatch.setattr(text_encoder, "load_tokenizer", lambda path: TOKENIZER)
    vocabulary = None
  else:
    data_file = request.getfixturevalue("data_file")
    vocabulary = data_file("clip_bpe_simple_vocab_16e6.txt.gz")
  theirs = random_clip(catalog.MODELS[name].text, torch, transformers)
  theirs.save_pretrained(tmp_path)
  # It tells of an image tower that is not this model's: none is looked at.
  (tmp_path / "config.json").unlink()
  encoder = load_text_encoder(name, tmp_path, vocabulary=vocabulary)
  texts = ["a cat.", "", "r\u00e9 $!~", "do the " * 12]
  tokens = encoder.tokenizer(texts)
  with torch.no_grad():
    output = theirs.text_model(input_ids=torch.tensor(tokens.astype(np.int64)))
    expected = theirs.text_projection(output.pooler_output).numpy()
  assert np.abs(expected).max() > 1
  embeddings = FORWARD(encoder.params, tokens, config=encoder.config)
  np.testing.assert_allclose(embeddings, expected, atol=1e-5, rtol=0)
  np.testing.assert_allclose(
    encoder.encode_texts(texts), unit(expected), atol=1e-6
  )
  assert encoder.logit_scale == theirs.logit_scale.item()


def random_clip(config, torch, transformers):
  """Their text tower beside a tiny image tower, every tensor random."""
  tiny = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
  }
  text_config = {
    "hidden_size": config.width,
    "intermediate_size": 4 * config.width,
    "num_hidden_layers": config.depth,
    "num_attention_heads": config.num_heads,
    "vocab_size": config.vocabulary_size,
    "bos_token_id": config.vocabulary_size - 2,
    "eos_token_id": config.vocabulary_size - 1,
  }
  model = transformers.CLIPModel(
    transformers.CLIPConfig(
      text_config=text_config, vision_config=tiny, projection_dim=config.dim
    )
  ).eval()
  generator = torch.Generator().manual_seed(0)
  for name, tensor in model.named_parameters():
    tensor.data.normal_(generator=generator)
    if name.endswith("weight") and tensor.ndim == 2 and "embedding" not in name:
      tensor.data /= tensor.shape[1] ** 0.5
    elif name.endswith("weight") and tensor.ndim == 1:
      tensor.data = 1 + 0.3 * tensor.data
  return model
