"""CLIP's ResNet in PyTorch, from the formulas, under the published names."""

import torch


class _Bottleneck(torch.nn.Module):
  """One block; a pool of 2 x 2 is what halves it."""

  def __init__(self, sources, width, halves):
    super().__init__()
    layers, targets = torch.nn, 4 * width
    self.conv1 = layers.Conv2d(sources, width, 1, bias=False)
    self.bn1 = layers.BatchNorm2d(width)
    self.conv2 = layers.Conv2d(width, width, 3, padding=1, bias=False)
    self.bn2 = layers.BatchNorm2d(width)
    self.conv3 = layers.Conv2d(width, targets, 1, bias=False)
    self.bn3 = layers.BatchNorm2d(targets)
    self.pool = layers.AvgPool2d(2 if halves else 1)
    if halves or sources != targets:
      self.downsample = layers.Sequential(
        layers.Conv2d(sources, targets, 1, bias=False),
        layers.BatchNorm2d(targets),
      )

  def forward(self, x):
    y = self.bn1(self.conv1(x)).clamp(min=0)
    y = self.pool(self.bn2(self.conv2(y)).clamp(min=0))
    kept = self.downsample(self.pool(x)) if hasattr(self, "downsample") else x
    return (self.bn3(self.conv3(y)) + kept).clamp(min=0)


class _Pool(torch.nn.Module):
  """The mean of all places asks them all, itself included."""

  def __init__(self, places, dim, out):
    super().__init__()
    self.positional_embedding = torch.nn.Parameter(torch.ones(1 + places, dim))
    self.k_proj, self.q_proj, self.v_proj = (
      torch.nn.Linear(dim, dim) for _ in range(3)
    )
    self.c_proj = torch.nn.Linear(dim, out)

  def forward(self, grid):
    tokens = torch.cat([grid.mean(1, keepdim=True), grid], 1)
    tokens = tokens + self.positional_embedding
    heads = lambda x: x.unflatten(-1, (-1, 64)).transpose(1, 2)
    q, k, v = (
      heads(project(tokens))
      for project in (self.q_proj, self.k_proj, self.v_proj)
    )
    weights = (q[:, :, :1] @ k.transpose(-1, -2) / 8).softmax(-1)
    return self.c_proj((weights @ v).transpose(1, 2).flatten(-2)[:, 0])


class ResNet(torch.nn.Module):
  """The grid before the pool, and what the pool says of it."""

  def __init__(self, layers, width, image_size, out):
    super().__init__()
    half, sources = width // 2, (3, width // 2, width // 2)
    for i, targets in enumerate((half, half, width)):
      conv = torch.nn.Conv2d(
        sources[i], targets, 3, stride=1 if i else 2, padding=1, bias=False
      )
      setattr(self, f"conv{i + 1}", conv)
      setattr(self, f"bn{i + 1}", torch.nn.BatchNorm2d(targets))
    channels = width
    for i, depth in enumerate(layers):
      blocks = []
      for j in range(depth):
        blocks.append(_Bottleneck(channels, width << i, bool(i) and not j))
        channels = 4 * width << i
      setattr(self, f"layer{i + 1}", torch.nn.Sequential(*blocks))
    self.attnpool = _Pool((image_size // 32) ** 2, channels, out)

  def forward(self, x):
    for i in (1, 2, 3):
      conv, norm = getattr(self, f"conv{i}"), getattr(self, f"bn{i}")
      x = norm(conv(x)).clamp(min=0)
    x = torch.nn.functional.avg_pool2d(x, 2)
    for i in (1, 2, 3, 4):
      x = getattr(self, f"layer{i}")(x)
    grid = x.flatten(2).transpose(1, 2)
    return grid, self.attnpool(grid)
