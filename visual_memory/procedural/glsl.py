"""A user's own GLSL shaders, drawn by ModernGL through EGL.

with Renderer(size=256) as renderer:
  program = renderer.compile(code, "geekest_300")
  image = renderer.draw(program, time=3.0)          # uint8 [256, 256, 3]

No window and no GPU are needed: Mesa draws in software (system packages
libegl1, libgl1 and libgl1-mesa-dri). Shaders of strangers may never end: use
glsl_worker or glsl_dataset for those, which have a time limit.
"""

import os
from typing import Any

import numpy as np
from jaxtyping import UInt8

from visual_memory.procedural import glsl_dialects
from visual_memory.procedural.glsl_dialects import UnsupportedShader

_VERTEX = """#version 300 es
in vec2 corner;
void main() { gl_Position = vec4(corner, 0., 1.); }
"""
FRAME_RATE = 60.0
_CHANNEL_SIZE = 64

LEAST_CONTRAST = 1.0 / 255
"""A picture whose colors all vary less (standard deviation) is flat."""


def open_context() -> Any:
  """A ModernGL context without a window.

  Raises:
    RuntimeError: no ModernGL, or no EGL; it says what to install.
  """
  try:
    import moderngl
  except ImportError as error:
    raise RuntimeError(
      "GLSL shaders need ModernGL: pip install 'visual_memory[gl]'."
    ) from error
  # Mesa's own switch for what shaders leave uninitialized.
  os.environ.setdefault("glsl_zero_init", "true")
  try:
    return moderngl.create_standalone_context(backend="egl", require=430)
  except Exception as error:
    raise RuntimeError(
      "There is no OpenGL 4.3 through EGL here. Mesa draws in software:"
      f" apt-get install libegl1 libgl1 libgl1-mesa-dri ({error})."
    ) from error


class Renderer:
  """Draws square pictures of completed shaders."""

  def __init__(self, *, size: int, floats: bool = True):
    """Opens a context.

    Args:
      size: S, the side of the pictures in pixels.
      floats: draws in float32, so that NaN and infinity are seen; False
        draws in 8 bits, which is quicker, and sees neither.

    Raises:
      RuntimeError: see open_context.
    """
    self.size, self._floats = size, floats
    self._context = open_context()
    corners = np.array([-1, -1, 3, -1, -1, 3], np.float32)
    self._corners = self._context.buffer(corners.tobytes())
    kind = "f4" if floats else "f1"
    # Two outputs, and two of each: the last frame is read by the next one.
    self._textures = [
      [self._context.texture((size, size), 4, dtype=kind) for _ in range(2)]
      for _ in range(2)
    ]
    self._frames = [
      self._context.framebuffer(color_attachments=pair)
      for pair in self._textures
    ]
    channel = np.random.default_rng(0).integers(
      0, 256, (_CHANNEL_SIZE, _CHANNEL_SIZE, 4), np.uint8
    )
    self._channel = self._context.texture(
      (_CHANNEL_SIZE, _CHANNEL_SIZE), 4, channel.tobytes()
    )

  def __enter__(self) -> "Renderer":
    """This renderer."""
    return self

  def __exit__(self, *exception: object) -> None:
    """Closes the context."""
    self._context.release()

  @property
  def device(self) -> str:
    """What draws: the name that OpenGL gives."""
    return self._context.info["GL_RENDERER"]

  def compile(self, code: str, dialect: str) -> Any:
    """A program that `draw` takes.

    Raises:
      UnsupportedShader: it does not compile (with the compiler's words), or
        see glsl_dialects.complete.
    """
    source = glsl_dialects.complete(code, dialect)
    try:
      return self._context.program(
        vertex_shader=_VERTEX, fragment_shader=source
      )
    except Exception as error:
      said = " ".join(str(error).split())
      raise UnsupportedShader(f"does not compile: {said[:300]}") from error

  def draw(
    self, program: Any, *, time: float, warmup: int = 0
  ) -> UInt8[np.ndarray, "S S 3"]:
    """One picture, first row on top.

    Args:
      program: from `compile`.
      time: seconds.
      warmup: frames drawn before, one 60th of a second apart, for shaders
        that look at their last frame; before the first it is black.

    Raises:
      UnsupportedShader: a pixel is NaN or infinite.
    """
    array = self._context.vertex_array(program, self._corners, "corner")
    for frame in self._frames:
      frame.clear()  # What a shader discards is black, not the last picture.
    for index in range(warmup + 1):
      target = self._frames[index % 2]
      target.use()
      target.clear()
      now = max(time - (warmup - index) / FRAME_RATE, 0.0)
      self._set_uniforms(program, now, index)
      array.render(vertices=3)
    array.release()
    shape = (self.size, self.size, 3)
    if not self._floats:
      pixels = np.frombuffer(target.read(components=3), np.uint8)
      return pixels.reshape(shape)[::-1]
    pixels = np.frombuffer(target.read(components=3, dtype="f4"), np.float32)
    pixels = pixels.reshape(shape)[::-1]
    bad = ~np.isfinite(pixels).all(-1)
    if bad.any():
      raise UnsupportedShader(
        f"{bad.sum()} of {bad.size} pixels are NaN or infinite at {time:.3f} s"
      )
    return np.round(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)

  def _set_uniforms(self, program: Any, time: float, frame: int) -> None:
    """Sets every name that the program kept; the compiler drops the others."""
    before = self._textures[(frame + 1) % 2]
    before[0].use(0)
    before[1].use(1)
    self._channel.use(2)
    size, rate = float(self.size), FRAME_RATE
    channel_size = (float(_CHANNEL_SIZE), float(_CHANNEL_SIZE), 1.0)
    values = {
      **dict.fromkeys(("r", "resolution"), (size, size)),
      **dict.fromkeys(("m", "mouse"), (0.0, 0.0)),
      **dict.fromkeys(("t", "time", "iTime"), time),
      "f": float(frame),
      "s": 0.0,
      **dict.fromkeys(("b", "b0", "backbuffer", "backbuffer0"), 0),
      **dict.fromkeys(("b1", "backbuffer1"), 1),
      "iResolution": (size, size, 1.0),
      "iTimeDelta": 1.0 / rate,
      "iFrameRate": rate,
      "iFrame": frame,
      "iChannelTime": [time] * 4,
      "iChannelResolution": [channel_size] * 4,
      "iMouse": (0.0, 0.0, 0.0, 0.0),
      "iDate": (2021.0, 3.0, 10.0, time),
      "iSampleRate": 44100.0,
      **{f"iChannel{i}": 2 for i in range(4)},
    }
    for name, value in values.items():
      if name in program:
        member = program[name]
        length = getattr(member, "array_length", 1)
        if isinstance(value, list):
          value = value[:length] if length > 1 else value[0]
        member.value = value


def check_picture(image: UInt8[np.ndarray, "S S 3"]) -> None:
  """Refuses a picture in which nothing is to be seen.

  Raises:
    UnsupportedShader: all colors are (nearly) the same.
  """
  spread = image.reshape(-1, 3).astype(np.float32).std(0).max() / 255.0
  if spread < LEAST_CONTRAST:
    raise UnsupportedShader(
      f"flat: one color, {tuple(int(c) for c in image[0, 0])}"
    )
