"""What happens to a layer's heights: combining, remapping, painting, blending.

Heights are standardized (mean 0, standard deviation 1 in the probe's view)
before they are remapped, so thresholds and palettes suit every program.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from visual_memory.procedural import noise, shapes
from visual_memory.types import Array

Field = Float[Array, "2 2 H W"]
Color = Float[Array, "3 2 2 H W"]

TAKE, SKIP = 0, 1

COMBINE = (
  lambda old, new, c: new,
  lambda old, new, c: old,
  lambda old, new, c: old + (0.2 + 0.6 * c) * new,
  lambda old, new, c: old * (0.6 + new),
  lambda old, new, c: jnp.minimum(old, new + 0.5 * c),
  lambda old, new, c: jnp.maximum(old, new - 0.5 * c),
  lambda old, new, c: shapes.smooth_minimum(old, new, 0.1 + 0.7 * c),
  lambda old, new, c: jnp.abs(old - new),
  lambda old, new, c: noise.sine((0.3 + 0.5 * c) * old + 0.25 * new),
  lambda old, new, c: jnp.where(new < c - 0.5, -old, old),
)
"""take, skip, add, multiply, minimum, maximum, melt, difference, bend, flip."""
COMBINE_WEIGHTS = np.array([0, 4, 2, 1, 1.2, 1, 1.2, 0.8, 0.8, 0.6])


def _posterize(h: Field, c) -> Field:
  """Flat steps with narrow ramps between them."""
  fine = h * (1.0 + 2.0 * c)
  step = jnp.floor(fine)
  ramp = jnp.clip((fine - step - 0.9) * 10.0, 0.0, 1.0)
  return (step + ramp) / (1.0 + 2.0 * c)


def _contours(h: Field, c) -> Field:
  """Thin lines of equal height over the height itself."""
  fine = h * (1.5 + 3.0 * c)
  line = jnp.abs(fine - jnp.round(fine))
  return jnp.where(line < 0.12, 1.6, 0.35 * h)


REMAP = (
  lambda h, c: h,
  lambda h, c: 1.2 * noise.sine(h * (0.25 + 0.8 * c)),
  lambda h, c: 2.0 * noise.smooth(h, -0.15 - 0.6 * c, 0.15 + 0.6 * c) - 1.0,
  _posterize,
  lambda h, c: 1.0 - 1.5 * jnp.abs(h) / (0.5 + c),
  lambda h, c: 2.0 * jnp.exp(-(1.0 + 4.0 * c) * jnp.abs(h)) - 1.0,
  _contours,
  lambda h, c: noise.triangle(h * (0.3 + 0.5 * c)),
)
"""keep, bands, edge, posterize, ridge, glow, contours, fold."""
REMAP_WEIGHTS = np.array([4.0, 1.3, 1.3, 1.2, 1.2, 1.2, 0.7, 0.8])


def _over(below, color, m):
  return below + m * (color - below)


BLEND = (
  _over,
  lambda below, color, m: below + m * 0.8 * color,
  lambda below, color, m: below * (1.0 - m + m * 1.3 * color),
  lambda below, color, m: 1.0 - (1.0 - below) * (1.0 - m * color),
  lambda below, color, m: jnp.abs(below - m * color),
)
"""over, add, multiply, screen, difference."""
BLEND_WEIGHTS = np.array([6.0, 0.7, 1.0, 1.0, 0.4])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Paint:
  """Colors, light and mask of a layer (or of all, with a leading axis).

  The palette is level + swing * cos(rate * u + phase) for each channel, where
  u is palette_scale times the remapped height, plus cell_color times the cell
  and past_color times the height of the layer below.

  Attributes:
    level: mean of the palette, [3].
    swing: half its range, [3].
    rate: how fast channels run through it, [3].
    phase: turns, [3].
    palette_scale: see above.
    cell_color: likewise.
    past_color: likewise.
    relief: height of the relief that is lit; 0 is flat.
    light: where the light comes from, in turns.
    gloss: strength of highlights.
    threshold: heights below it belong to the layer's shape.
    softness: width of the shape's edge; 0 is one sample.
    shadow: darkness of the shadow around the shape.
    opacity: of the layer.
    inherit: 1 starts from the coordinates of the layer below, 0 from the view.
  """

  level: Array
  swing: Array
  rate: Array
  phase: Array
  palette_scale: Array
  cell_color: Array
  past_color: Array
  relief: Array
  light: Array
  gloss: Array
  threshold: Array
  softness: Array
  shadow: Array
  opacity: Array
  inherit: Array


def chosen(functions, code: Array, *inputs) -> Array:
  """What the code's function makes of the inputs.

  All are computed and one is taken: for functions as small as these a branch
  each would take longer, to compile above all.
  """
  return jax.lax.select_n(
    jnp.broadcast_to(code, inputs[0].shape), *(f(*inputs) for f in functions)
  )


def slopes(height: Field) -> tuple[Field, Field]:
  """Differences between the four samples of each pixel, [2, 2, H, W].

  The first axis is that of the sample's row, the second that of its column: a
  pixel needs no neighbor, as with the derivatives of a graphics card.
  """
  dx, dy = height[:, 1:] - height[:, :1], height[1:] - height[:1]
  return jnp.broadcast_to(dx, height.shape), jnp.broadcast_to(dy, height.shape)


def colorize(paint: Paint, remapped: Field, cell: Field, past: Field) -> Color:
  """The palette's color of every pixel."""
  u = paint.palette_scale * remapped
  u = u + paint.cell_color * cell + paint.past_color * past
  level, swing, rate, phase = (
    jnp.expand_dims(part, (1, 2, 3, 4))
    for part in (paint.level, paint.swing, paint.rate, paint.phase)
  )
  return level + swing * noise.cosine(rate * u[None] + phase)


def illuminate(
  paint: Paint, color: Color, dx: Field, dy: Field, pixel
) -> Color:
  """The color of a relief with these differences under one lamp.

  Args:
    paint: of the layer.
    color: of the surface.
    dx: differences of the remapped height between samples.
    dy: likewise.
    pixel: distance between samples, in units of the picture's half height.
  """
  slope = paint.relief / pixel
  nx, ny = -dx * slope, -dy * slope
  length = jax.lax.rsqrt(nx * nx + ny * ny + 1.0)
  toward = nx * noise.cosine(paint.light) + ny * noise.sine(paint.light)
  # The lamp is 45 degrees up: a flat surface keeps its color.
  diffuse = jnp.maximum((toward + 1.0) * length, 0.0)
  half = jnp.maximum((0.38268343 * toward + 0.92387953) * length, 0.0)
  sharp = half * half
  sharp = sharp * sharp
  sharp = sharp * sharp
  shine = paint.gloss * sharp * sharp * sharp
  shade = 0.25 + 0.75 * diffuse
  return color * shade[None] + shine[None]


def cut(paint: Paint, height: Field, rise: Field) -> tuple[Field, Field]:
  """The layer's mask, and the darkness around it.

  Args:
    paint: of the layer.
    height: standardized, before remapping.
    rise: its change over one sample: the least width of an edge.
  """
  width = jnp.maximum(paint.softness, rise) + 1e-4
  depth = paint.threshold - height
  mask = jnp.clip(0.5 + depth / width, 0.0, 1.0)
  mask = mask * mask * (3.0 - 2.0 * mask)
  near = jnp.clip((depth + 0.6) / 0.6, 0.0, 1.0)
  return paint.opacity * mask, paint.shadow * near * near
