"""Losses, center, head, schedules and optimizer against NumPy and torch."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from configs import pretrain as config_lib
from visual_memory.pretraining import (
  cost,
  heads,
  losses,
  network,
  optimizer,
  schedules,
  views,
)
from visual_memory.pretraining.recipe import checked, differences
from visual_memory.studies.from_values import from_values
from visual_memory.studies.pretraining import Settings, make_recipe

K, DIM, BATCH, VIEWS = 24, 12, 5, 4

# One program each, not one for every operation.
dino_loss = functools.partial(
  losses.dino_loss, student_temperature=0.1, teacher_temperature=0.04
)
contrastive_loss = jax.jit(
  functools.partial(losses.contrastive_loss, temperature=0.2)
)


def softmax(x):
  x = np.exp(x - x.max(-1, keepdims=True))
  return x / x.sum(-1, keepdims=True)


def cosine_table(first, last, *, steps, warmup=0):
  """The published schedule as a table: linspace, then half a cosine."""
  rest = np.arange(steps - warmup)
  turn = 0.5 * (first - last) * (1 + np.cos(np.pi * rest / len(rest)))
  return np.concatenate([np.linspace(0, first, warmup), last + turn])


def numpy_dino_loss(student, teacher, center, student_t, teacher_t):
  """Pair by pair, in float64."""
  terms = []
  for i, said in enumerate(teacher):
    q = softmax((said.astype(np.float64) - center) / teacher_t)
    for v, heard in enumerate(student):
      if v != i:
        p = softmax(heard.astype(np.float64) / student_t)
        terms.append(np.mean(-np.sum(q * np.log(p), -1)))
  return np.mean(terms)


@pytest.fixture(scope="module")
def logits():
  random = np.random.default_rng(0)
  student = random.uniform(-1, 1, (VIEWS, BATCH, K)).astype(np.float32)
  teacher = random.uniform(-1, 1, (2, BATCH, K)).astype(np.float32)
  center = random.uniform(-0.2, 0.2, K).astype(np.float32)
  return student, teacher, center


def test_dino_loss_is_the_mean_over_pairs_of_other_views(logits):
  got = jax.jit(dino_loss)(*logits)
  expected = numpy_dino_loss(*logits, 0.1, 0.04)
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_dino_loss_and_gradient_equal_torch(logits):
  torch = pytest.importorskip("torch")
  student, teacher, center = logits
  heard = torch.tensor(student, requires_grad=True)
  total, count = 0, 0
  q = torch.softmax((torch.tensor(teacher) - torch.tensor(center)) / 0.04, -1)
  for i in range(2):
    for v in range(VIEWS):
      if i != v:
        log_p = torch.log_softmax(heard[v] / 0.1, -1)
        total, count = total + (-q[i] * log_p).sum(-1).mean(), count + 1
  (total / count).backward()
  value, gradient = jax.jit(jax.value_and_grad(dino_loss))(*logits)
  np.testing.assert_allclose(value, (total / count).item(), rtol=1e-5)
  np.testing.assert_allclose(gradient, heard.grad.numpy(), atol=1e-5)


def test_no_gradient_flows_into_the_teacher(logits):
  gradient = jax.jit(jax.grad(dino_loss, argnums=1))(*logits)
  assert gradient.shape == logits[1].shape and not np.any(gradient)


def test_center_and_teacher_are_moving_averages(logits):
  _, teacher, center = logits
  mean = teacher.mean((0, 1))
  moved = losses.moved_center(jnp.asarray(center), mean, momentum=0.9)
  np.testing.assert_allclose(moved, 0.9 * center + 0.1 * mean, atol=1e-7)
  average = network.moved_average(
    {"a": jnp.ones(2)}, {"a": jnp.zeros(2)}, jnp.float32(0.996)
  )
  np.testing.assert_allclose(average["a"], 0.996)


def test_entropy_tells_both_collapses_apart():
  np.testing.assert_allclose(losses.entropy(jnp.eye(4)), 0, atol=1e-6)
  flat = jnp.full((2, 8), 1 / 8)
  np.testing.assert_allclose(losses.entropy(flat), math.log(8), rtol=1e-6)


@pytest.mark.parametrize("labels", [(0, 1, 2, 3), (0, 1, 0, 2)])
def test_contrastive_loss_is_khoslas(labels):
  random = np.random.default_rng(1)
  rows = random.normal(size=(3, 4, DIM)).astype(np.float32)
  rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
  got = contrastive_loss(rows, np.array(labels))
  flat, tiled = rows.reshape(12, DIM).astype(np.float64), np.tile(labels, 3)
  similarities = np.exp(flat @ flat.T / 0.2)
  anchors = []
  for a in range(12):
    others = np.delete(np.arange(12), a)
    positives = [p for p in others if tiled[p] == tiled[a]]
    total = similarities[a, others].sum()
    anchors.append(np.mean([-np.log(similarities[a, p] / total)
                            for p in positives]))  # fmt: skip
  np.testing.assert_allclose(got, np.mean(anchors), rtol=1e-5)


def at_steps(schedule, count):
  """Its values at the first steps, as a training step asks for them."""
  return np.asarray(jax.jit(jax.vmap(schedule))(np.arange(count)))


def test_schedules_are_the_published_tables():
  got = schedules.warmup_cosine(1e-3, 1e-6, num_steps=50, warmup_steps=10)
  table = cosine_table(1e-3, 1e-6, steps=50, warmup=10)
  np.testing.assert_allclose(at_steps(got, 50), table, atol=1e-9)
  momentum = schedules.cosine(0.996, 1.0, num_steps=20)
  table = cosine_table(0.996, 1.0, steps=20)
  found = at_steps(momentum, 100)
  np.testing.assert_allclose(found[:20], table, rtol=1e-6)
  assert (found[20:] == 1.0).all()
  warm = schedules.warmup_linear(0.04, 0.07, warmup_steps=4)
  np.testing.assert_allclose(
    at_steps(warm, 6), [0.04, 0.05, 0.06, 0.07, 0.07, 0.07], rtol=1e-6
  )
  with pytest.raises(ValueError, match="no more warm-up"):
    schedules.warmup_cosine(1.0, 0.0, num_steps=2, warmup_steps=3)


def dino_head(seed=0):
  return heads.DinoHead(
    DIM, hidden=16, bottleneck=8, prototypes=K, rngs=nnx.Rngs(seed)
  )


def torch_head(torch, params):
  """The published head with our numbers, for torch's own weight_norm."""
  from torch import nn

  mlp = nn.Sequential(
    nn.Linear(DIM, 16), nn.GELU(), nn.Linear(16, 16), nn.GELU(),
    nn.Linear(16, 8),
  )  # fmt: skip
  last = nn.utils.parametrizations.weight_norm(nn.Linear(8, K, bias=False))
  with torch.no_grad():
    for layer, name in zip(mlp[::2], ("fc1", "fc2", "fc3"), strict=True):
      layer.weight.copy_(
        torch.tensor(np.array(params["mlp"][name]["kernel"])).T
      )
      layer.bias.copy_(torch.tensor(np.array(params["mlp"][name]["bias"])))
    weight = last.parametrizations.weight
    weight.original0.fill_(1.0)
    weight.original1.copy_(torch.tensor(np.array(params["prototypes"])).T)
  weight.original0.requires_grad = False

  def forward(x):
    return last(nn.functional.normalize(mlp(x), dim=-1))

  return forward, mlp, weight.original1


def pure(module):
  return nnx.to_pure_dict(nnx.state(module))


def test_head_equals_torch():
  torch = pytest.importorskip("torch")
  head = dino_head()
  x = np.random.default_rng(0).normal(size=(BATCH, DIM)).astype(np.float32)
  forward, _, _ = torch_head(torch, pure(head))
  np.testing.assert_allclose(
    jax.jit(lambda x: head(x, precision="float32"))(x),
    forward(torch.tensor(x)).detach().numpy(),
    atol=1e-6,
  )


def test_head_gives_cosines_with_unit_prototypes():
  head = dino_head()
  x = np.random.default_rng(0).normal(size=(BATCH, DIM)).astype(np.float32)
  rows, got = jax.jit(
    lambda x: (head.mlp(x, precision="float32"), head(x, precision="float32"))
  )(x)
  rows = np.asarray(rows, np.float64)
  np.testing.assert_allclose(np.linalg.norm(rows, axis=-1), 1, rtol=1e-6)
  columns = np.asarray(head.prototypes[...], np.float64)
  columns /= np.linalg.norm(columns, axis=0)
  np.testing.assert_allclose(got, rows @ columns, atol=1e-6)
  slope = jax.jit(jax.grad(lambda x: jnp.sum(heads.normalized(x, axis=0))))
  assert np.isfinite(slope(np.zeros(3, np.float32))).all()


SETTINGS = optimizer.OptimizerSettings(
  num_steps=8, warmup_steps=3, learning_rate=3e-2, final_learning_rate=1e-3,
  weight_decay=0.04, final_weight_decay=0.4, beta1=0.9, beta2=0.999, eps=1e-8,
  clip=0.05, frozen_steps=2,
)  # fmt: skip


def test_eight_steps_of_the_recipe_equal_torch():
  """Loss, center, clipping, frozen prototypes, AdamW and EMA together."""
  torch = pytest.importorskip("torch")
  random = np.random.default_rng(0)
  x = random.normal(size=(8, VIEWS, BATCH, DIM)).astype(np.float32)
  rate = cosine_table(3e-2, 1e-3, steps=8, warmup=3)
  decay = cosine_table(0.04, 0.4, steps=8)
  ema = cosine_table(0.9, 1.0, steps=8)

  graph, _ = nnx.split(dino_head())
  ours = pure(dino_head())
  teacher, center = ours, jnp.zeros(K)
  transform = optimizer.adamw(SETTINGS)
  state = transform.init(ours)

  @jax.jit
  def advance(ours, teacher, center, state, x, momentum):
    def run(params, x):
      rows = nnx.merge(graph, params)(x.reshape(-1, DIM), precision="float32")
      return rows.reshape(-1, BATCH, K)

    said = run(teacher, x[:2])
    gradients = jax.grad(
      lambda p: losses.dino_loss(
        run(p, x), said, center, student_temperature=0.1,
        teacher_temperature=0.04,
      )
    )(ours)  # fmt: skip
    center = losses.moved_center(center, said.mean((0, 1)), momentum=0.9)
    updates, state = transform.update(gradients, state, ours)
    ours = optax.apply_updates(ours, updates)
    return ours, network.moved_average(teacher, ours, momentum), center, state

  student, mlp, prototypes = torch_head(torch, ours)
  follower, mlp_t, prototypes_t = torch_head(torch, ours)
  weights = [p for p in mlp.parameters() if p.ndim > 1] + [prototypes]
  biases = [p for p in mlp.parameters() if p.ndim == 1]
  adam = torch.optim.AdamW(
    [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
  )
  c = torch.zeros(K)
  for i in range(8):
    adam.param_groups[0].update(lr=rate[i], weight_decay=decay[i])
    adam.param_groups[1].update(lr=rate[i])
    views = torch.tensor(x[i])
    with torch.no_grad():
      said = follower(views[:2])
    heard, q = student(views), torch.softmax((said - c) / 0.04, -1)
    loss = sum(
      (-q[a] * torch.log_softmax(heard[v] / 0.1, -1)).sum(-1).mean()
      for a in range(2)
      for v in range(VIEWS)
      if a != v
    ) / (2 * VIEWS - 2)
    adam.zero_grad()
    loss.backward()
    for p in (*mlp.parameters(), prototypes):
      p.grad.mul_(min(1.0, 0.05 / (p.grad.norm().item() + 1e-6)))
    if i < 2:
      prototypes.grad = None
    adam.step()
    c = 0.9 * c + 0.1 * said.mean((0, 1))
    with torch.no_grad():
      mine = [*mlp_t.parameters(), prototypes_t]
      for old, new in zip(mine, (*mlp.parameters(), prototypes), strict=True):
        old.mul_(ema[i]).add_(new, alpha=1 - ema[i])
    ours, teacher, center, state = advance(
      ours, teacher, center, state, jnp.asarray(x[i]), jnp.float32(ema[i])
    )
  np.testing.assert_allclose(center, c, atol=1e-5)
  for params, layers, last in (
    (ours, mlp, prototypes),
    (teacher, mlp_t, prototypes_t),
  ):
    np.testing.assert_allclose(
      params["prototypes"], last.detach().numpy().T, atol=1e-5
    )
    for layer, name in zip(layers[::2], ("fc1", "fc2", "fc3"), strict=True):
      for leaf, tensor in (("kernel", layer.weight.T), ("bias", layer.bias)):
        np.testing.assert_allclose(
          params["mlp"][name][leaf], tensor.detach().numpy(), atol=1e-5
        )


def test_clipping_is_by_tensor_and_positions_are_one():
  gradients = {
    "class_position": jnp.array([3.0, 0.0]),
    "patch_position": jnp.array([[4.0, 0.0]]),
    "kernel": jnp.array([0.1]),
  }
  clipped, _ = optimizer.clip_each(1.0).update(gradients, ())
  np.testing.assert_allclose(clipped["class_position"], [0.6, 0], rtol=1e-5)
  np.testing.assert_allclose(clipped["patch_position"], [[0.8, 0]], rtol=1e-5)
  np.testing.assert_allclose(clipped["kernel"], [0.1])


def test_parameter_groups():
  recipe = small(config_lib.get_config("smoke"))
  params = jax.eval_shape(lambda: network.init(recipe))
  leaves = jax.tree_util.tree_leaves_with_path(optimizer.group_names(params))
  names = {jax.tree_util.keystr(p, simple=True): g for p, g in leaves}
  for name, group in names.items():
    last = name.split(".")[-1]
    plain = any(last.endswith(end) for end in ("bias", "scale"))
    assert (group == "plain") == plain, name
  assert sum(g == "prototypes" for g in names.values()) == 1


def small(config):
  return make_recipe(from_values(config.to_dict(), Settings))


@pytest.fixture(scope="module")
def smoke():
  """The smallest recipe and params of its network."""
  recipe = small(config_lib.get_config("smoke"))
  return recipe, jax.jit(lambda: network.init(recipe))()


def test_the_backbone_sees_each_size_once_and_equals_views_alone(smoke):
  recipe, params = smoke
  random = np.random.default_rng(0)
  wide = random.normal(size=(2, 3, 16, 16, 3)).astype(np.float32)
  near = random.normal(size=(1, 3, 8, 8, 3)).astype(np.float32)
  project = jax.jit(functools.partial(network.project, recipe, keys=None))
  got = project(params, views.Views(globals=wide, locals=near))
  both = np.concatenate([near, near])
  alone = project(params, views.Views(globals=both, locals=None))
  assert got.shape == (3, 3, 64)
  np.testing.assert_allclose(got[2], alone[0], atol=1e-5)


def test_stochastic_depth_keeps_the_mean_and_rises_with_depth():
  keys = jax.random.split(jax.random.key(0), 10_000)
  draw = jax.jit(
    functools.partial(network.branch_scales, depth=3, count=2, rate=0.5)
  )
  scales = np.asarray(draw(keys))
  np.testing.assert_allclose(scales.mean((1, 2)), 1.0, atol=0.02)
  np.testing.assert_allclose((scales == 0).mean((1, 2)), [0, 0.25, 0.5],
                             atol=0.02)  # fmt: skip
  # What an image loses is its own, whatever the batch.
  np.testing.assert_array_equal(draw(keys[5:7]), scales[:, :, 10:14])


def test_first_weights_are_normal_of_the_published_deviation(smoke):
  _, params = smoke
  block = params["backbone"]["blocks"][0]
  found = np.concatenate(
    [
      np.ravel(block["mlp"][name]["kernel"]) for name in ("fc1", "fc2")
    ] + [np.ravel(block["attn"]["qkv"]["kernel"])]
  )  # fmt: skip
  np.testing.assert_allclose(found.std(), 0.02, rtol=0.04)
  assert np.abs(found).max() > 0.05  # Not cut at two deviations.
  assert (np.asarray(block["mlp"]["fc1"]["bias"]) == 0).all()


def test_what_fills_a_batch_counts_for_nothing(logits):
  student, teacher, center = logits
  more = lambda x: np.concatenate([x, x[:, :1] * 3], axis=1)
  weights = np.array([0.2] * BATCH + [0.0], np.float32)
  loss = jax.jit(dino_loss)
  np.testing.assert_allclose(
    loss(more(student), more(teacher), center, weights=weights),
    loss(student, teacher, center),
    rtol=1e-6,
  )
  rows = student / np.linalg.norm(student, axis=-1, keepdims=True)
  labels = np.arange(BATCH + 1) % 4
  np.testing.assert_allclose(
    contrastive_loss(more(rows), labels, weights=weights),
    contrastive_loss(rows, labels[:BATCH]),
    rtol=1e-6,
  )


def test_config_has_the_published_values():
  """Facts of the published run: ViT-S/16, 253,900 steps of 512, ..."""
  recipe = small(config_lib.get_config())
  assert (recipe.backbone.dim, recipe.backbone.depth) == (384, 12)
  assert recipe.backbone.grid == 14
  assert recipe.optimizer.num_steps == 1_300_000 // 512 * 100
  assert recipe.optimizer.learning_rate == 5e-4 * recipe.batch_size / 256
  assert recipe.optimizer.warmup_steps == recipe.optimizer.num_steps // 10
  assert recipe.optimizer.frozen_steps == recipe.optimizer.num_steps // 100
  sizes = jax.tree.map(
    lambda x: math.prod(x.shape), jax.eval_shape(lambda: network.init(recipe))
  )
  # 21.67 million of the backbone; of the head 384 * 2048 + 2048 + 2048 * 2048
  # + 2048 + 2048 * 256 + 256 + 256 * 65536.
  assert sum(jax.tree.leaves(sizes["backbone"])) == 21_665_664
  assert sum(jax.tree.leaves(sizes["head"])) == 22_286_592


def test_flops_are_those_of_a_count_by_hand():
  recipe = small(config_lib.get_config())
  # 12 blocks, 197 tokens, 12 d^2 + 2 T d products, and the patches.
  products = 12 * 197 * (12 * 384**2 + 2 * 197 * 384) + 196 * 768 * 384
  assert cost.backbone_flops(recipe.backbone, size=224) == 2 * products
  # All patches' keys and values, then one token's 10 d^2 + 2 T d.
  products -= 196 * (10 * 384**2 + 2 * 197 * 384)
  alone = cost.backbone_flops(recipe.backbone, size=224, patch_tokens=False)
  assert alone == 2 * products
  assert cost.utilization(
    494.5e12, device_kind="NVIDIA H100 80GB HBM3", num_devices=1
  ) == pytest.approx(0.5)
  assert cost.utilization(1.0, device_kind="cpu", num_devices=1) is None


def test_recipes_that_contradict_themselves_are_refused():
  recipe = small(config_lib.get_config("smoke"))
  few_steps = dataclasses.replace(recipe.optimizer, num_steps=4, warmup_steps=9)
  for change, message in (
    ({"objective": "byol"}, "objective cannot be 'byol'"),
    ({"micro_batches": 3}, "3 equal parts"),
    ({"drop_path": 1.0}, "drop_path"),
    ({"optimizer": few_steps}, "9 warm-up steps of 4"),
  ):
    with pytest.raises(ValueError, match=message):
      checked(dataclasses.replace(recipe, **change))


def test_differences_name_every_value():
  old = {"a": {"b": 1, "c": (1, 2)}, "d": 3}
  assert differences(old, {"a": {"b": 1, "c": [1, 2]}, "d": 3}) == []
  assert differences(old, {"a": {"b": 2, "c": (1, 2)}}) == [
    "a.b: 1 -> 2",
    "d: 3 -> 'absent'",
  ]
