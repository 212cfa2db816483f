"""One shader in two languages, for timing: clouds bent by clouds.

images = clouds(times, size=128)             # float32 [B, S, S, 3]
program = renderer.compile(GLSL, "geeker_300")

f(p + 2 (f(p + t), f(p + (5.2 - t, 1.3)))), f five octaves of value noise:
fifteen noises a pixel, and none of them is the same at another time. Both give
the same picture but for rounding.
"""

import jax.numpy as jnp
from jaxtyping import Float

from visual_memory.procedural import noise, render
from visual_memory.types import Array

NUM_OCTAVES = 5
_SEED = 12345

_FUNCTIONS = f"""
uint mixed(uint h) {{
  h = (h ^ (h >> 15u)) * 0xC2B2AE3Du;
  return h ^ (h >> 13u);
}}
float unit(uint h) {{ return float(mixed(h) & 0xFFFFu) / 65536.; }}
float value(vec2 p, uint seed) {{
  vec2 cell = floor(p);
  vec2 f = p - cell;
  vec2 s = f * f * (3. - 2. * f);
  ivec2 at = ivec2(cell);
  uint x = uint(at.x) * 0x9E3779B1u + seed, y = uint(at.y) * 0x85EBCA77u;
  uint x1 = x + 0x9E3779B1u, y1 = y + 0x85EBCA77u;
  return 2. * mix(mix(unit(x + y), unit(x1 + y), s.x),
                  mix(unit(x + y1), unit(x1 + y1), s.x), s.y) - 1.;
}}
float fbm(vec2 p) {{
  float total = 0., amplitude = 1., norm = 0.;
  for (int i = 0; i < {NUM_OCTAVES}; i++) {{
    total += amplitude * value(p, {_SEED}u + uint(i) * 0x632BE5ABu);
    norm += amplitude;
    amplitude *= .5;
    p = vec2(1.6 * p.x - 1.2 * p.y + .37, 1.2 * p.x + 1.6 * p.y - .71);
  }}
  return total / norm;
}}
"""

GLSL = (
  _FUNCTIONS
  + """
void main() {
  vec2 at = (gl_FragCoord.xy / r * 2. - 1.) * vec2(2., -2.);
  vec2 q = vec2(fbm(at + t), fbm(at + vec2(5.2 - t, 1.3)));
  float v = fbm(at + 2. * q);
  o = vec4(vec3(v, q) * .5 + .5, 1.);
}
"""
)
"""For the dialect geeker_300."""


def clouds(times: Float[Array, "B"], *, size: int) -> Float[Array, "B S S 3"]:
  """The picture at each time (in seconds), in [0, 1]."""
  line = ((jnp.arange(size, dtype=jnp.float32) + 0.5) / size * 2 - 1) * 2
  x = jnp.broadcast_to(line[None, :], (size, size))
  y = jnp.broadcast_to(line[:, None], (size, size))

  def fbm(x, y):
    return noise.octaves(
      noise.value_noise,
      x,
      y,
      jnp.uint32(_SEED),
      num=NUM_OCTAVES,
      gain=0.5,
      shape=lambda value: value,
    )

  def one(time):
    a, b = fbm(x + time, y + time), fbm(x + (5.2 - time), y + 1.3)
    v = fbm(x + 2.0 * a, y + 2.0 * b)
    return jnp.stack([v, a, b], -1) * 0.5 + 0.5

  return render.over_programs(one, times)
