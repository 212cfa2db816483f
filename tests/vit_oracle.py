"""A vision transformer in float64 NumPy, on the published tensors themselves.

Written from the formulas, without the library: `hub_forward` takes the tensors
of a DINO or DINOv2 .pth by their names, `clip_forward` those of OpenAI's CLIP.
"""

import numpy as np
from scipy import special


def hub_forward(tensors, images, *, config):
  """All tokens after the final LayerNorm, [B, T, D]."""
  t = {name: value.astype(np.float64) for name, value in tensors.items()}
  kernel = t["patch_embed.proj.weight"]
  patches = _convolve(images, kernel) + t["patch_embed.proj.bias"]
  x = np.concatenate(
    [
      np.broadcast_to(t["cls_token"], (len(images), 1, config.dim)),
      patches.reshape(len(images), -1, config.dim),
    ],
    axis=1,
  )
  x = x + _positions(t["pos_embed"][0], patches.shape[1:3], config)
  if config.num_registers:
    registers = t["register_tokens"]
    registers = np.broadcast_to(registers, (len(x), *registers.shape[1:]))
    x = np.concatenate([x[:, :1], registers, x[:, 1:]], axis=1)
  for i in range(config.depth):
    b = {
      name.removeprefix(f"blocks.{i}."): value
      for name, value in t.items()
      if name.startswith(f"blocks.{i}.")
    }
    y = _norm(x, b["norm1.weight"], b["norm1.bias"], 1e-6)
    y = _attention(
      y @ b["attn.qkv.weight"].T + b["attn.qkv.bias"], config.num_heads
    )
    y = y @ b["attn.proj.weight"].T + b["attn.proj.bias"]
    x = x + y * b.get("ls1.gamma", 1.0)
    y = _norm(x, b["norm2.weight"], b["norm2.bias"], 1e-6)
    if "mlp.w12.weight" in b:
      y = y @ b["mlp.w12.weight"].T + b["mlp.w12.bias"]
      gate, value = np.split(y, 2, axis=-1)
      y = gate * special.expit(gate) * value
      y = y @ b["mlp.w3.weight"].T + b["mlp.w3.bias"]
    else:
      y = y @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"]
      y = y * 0.5 * (1 + special.erf(y / np.sqrt(2)))
      y = y @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"]
    x = x + y * b.get("ls2.gamma", 1.0)
  return _norm(x, t["norm.weight"], t["norm.bias"], 1e-6)


def clip_forward(tensors, images, *, config):
  """CLIP's projected image embeddings at its own resolution, [B, E]."""
  t = {
    name.removeprefix("visual."): value.astype(np.float64)
    for name, value in tensors.items()
    if name.startswith("visual.")
  }
  patches = _convolve(images, t["conv1.weight"])
  patches = patches.reshape(len(images), -1, config.dim)
  first = np.broadcast_to(t["class_embedding"], (len(images), 1, config.dim))
  x = np.concatenate([first, patches], axis=1) + t["positional_embedding"]
  x = _norm(x, t["ln_pre.weight"], t["ln_pre.bias"], 1e-5)
  for i in range(config.depth):
    at = f"transformer.resblocks.{i}."
    y = _norm(x, t[at + "ln_1.weight"], t[at + "ln_1.bias"], 1e-5)
    y = y @ t[at + "attn.in_proj_weight"].T + t[at + "attn.in_proj_bias"]
    y = _attention(y, config.num_heads)
    x = x + y @ t[at + "attn.out_proj.weight"].T + t[at + "attn.out_proj.bias"]
    y = _norm(x, t[at + "ln_2.weight"], t[at + "ln_2.bias"], 1e-5)
    y = y @ t[at + "mlp.c_fc.weight"].T + t[at + "mlp.c_fc.bias"]
    y = y * special.expit(1.702 * y)
    x = x + y @ t[at + "mlp.c_proj.weight"].T + t[at + "mlp.c_proj.bias"]
  return (
    _norm(x[:, 0], t["ln_post.weight"], t["ln_post.bias"], 1e-5) @ t["proj"]
  )


def _convolve(images, kernel):
  """[B, h, w, D]: the kernel [D, 3, p, p] on each patch of [B, H, W, 3]."""
  patch = kernel.shape[-1]
  batch, height, width, _ = images.shape
  out = np.zeros((batch, height // patch, width // patch, len(kernel)))
  for row in range(height // patch):
    for column in range(width // patch):
      cut = images[
        :,
        row * patch : (row + 1) * patch,
        column * patch : (column + 1) * patch,
      ]
      out[:, row, column] = np.einsum("byxc,dcyx->bd", cut, kernel)
  return out


def _norm(x, scale, bias, eps):
  mean = x.mean(axis=-1, keepdims=True)
  return (x - mean) / np.sqrt(
    x.var(axis=-1, keepdims=True) + eps
  ) * scale + bias


def _attention(qkv, num_heads):
  batch, tokens, width = qkv.shape
  q, k, v = qkv.reshape(batch, tokens, 3, num_heads, -1).transpose(
    2, 0, 3, 1, 4
  )
  scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
  mixed = special.softmax(scores, axis=-1) @ v
  return mixed.swapaxes(1, 2).reshape(batch, tokens, width // 3)


def _positions(table, grid, config):
  """Class and patch positions, by the rule of the released code."""
  side = config.grid
  patches = table[1:].reshape(side, side, -1)
  if grid != (side, side):
    antialias = config.num_registers > 0
    patches = _resample(patches, grid[0], antialias)
    patches = _resample(patches.swapaxes(0, 1), grid[1], antialias)
    patches = patches.swapaxes(0, 1)
  return np.concatenate([table[:1], patches.reshape(-1, table.shape[-1])])


def _resample(values, size, antialias):
  """Bicubic along the first axis, one output and one tap at a time."""
  side = len(values)
  step = side / size if antialias else side / (size + 0.1)
  out = np.zeros((size, *values.shape[1:]))
  for i in range(size):
    center = (i + 0.5) * step - 0.5
    if antialias:
      reach = max(step, 1.0)
      weights = [_cubic((j - center) / reach, -0.5) for j in range(side)]
      out[i] = sum(w * v for w, v in zip(weights, values, strict=True))
      out[i] /= sum(weights)
    else:
      for j in range(int(np.floor(center)) - 1, int(np.floor(center)) + 3):
        clamped = min(max(j, 0), side - 1)
        out[i] += _cubic(j - center, -0.75) * values[clamped]
  return out


def _cubic(x, a):
  x = abs(x)
  if x <= 1:
    return (a + 2) * x**3 - (a + 3) * x**2 + 1
  if x < 2:
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
  return 0.0
