"""A user's own GLSL: dialects, uniforms, bad shaders, folders."""

import json

import numpy as np
import pytest

from visual_memory.procedural import (
  clouds,
  glsl,
  glsl_dataset,
  glsl_dialects,
)
from visual_memory.procedural.glsl_dialects import UnsupportedShader
from visual_memory.procedural.glsl_worker import Worker

SIZE = 16
ES = "precision mediump float;"
LONG = "uniform vec2 resolution; uniform float time;"
SHORT = "uniform vec2 r; uniform float t;"
LONG_BODY = "vec4(gl_FragCoord.xy / resolution, fract(time), 1.);"
SHORT_BODY = "vec4(gl_FragCoord.xy / r, fract(t), 1.);"
# Red grows to the right, green upwards, blue is the time's fraction.
SHADERS = {
  "classic": ES + LONG + "void main() { gl_FragColor = " + LONG_BODY + "}",
  "classic_300": "#version 300 es\n" + ES + LONG + "out vec4 color;"
  "void main() { color = " + LONG_BODY + "}",
  "classic_mrt": ES + LONG + "void main() { o1 = vec4(1.); o0 = "
  + LONG_BODY + "}",
  "geek": ES + SHORT + "void main() { gl_FragColor = " + SHORT_BODY + "}",
  "geek_300": ES + SHORT + "void main() { o = " + SHORT_BODY + "}",
  "geek_mrt": ES + SHORT + "void main() { o0 = " + SHORT_BODY + "}",
  "geeker": "void main() { gl_FragColor = " + SHORT_BODY + "}",
  "geeker_300": "void main() { o = " + SHORT_BODY + "}",
  "geeker_mrt": "void main() { o0 = o1 = " + SHORT_BODY + "}",
  "geekest": "gl_FragColor = vec4(FC.xy / r, fract(t), 1.);",
  "geekest_300": "o.rg += FC.xy / r; o.b = fract(t);",
  "geekest_mrt": "o0.rg += FC.xy / r; o0.b = fract(t);",
  "shadertoy": "void mainImage(out vec4 c, in vec2 at) {"
  "c = vec4(at / iResolution.xy, fract(iTime), 0.) * iResolution.z; }",
}  # fmt: skip
# Mesa leaves a loop after 65,536 rounds, so each round is made expensive.
ENDLESS = (
  "vec4 i = vec4(t); while (t >= 0.) i = sin(i.yzwx * 3. + cos(i + FC));o = i;"
)
FLAT, NAN = "o = vec4(.3);", "o = vec4(FC.x / r.x, (t - t) / (t - t), 0., 1.);"


@pytest.fixture(scope="module")
def renderer():
  pytest.importorskip("moderngl", reason="the gl extra is not installed")
  try:
    opened = glsl.Renderer(size=SIZE)
  except RuntimeError as error:
    pytest.skip(str(error))
  with opened:
    yield opened


def ramp(time, size=SIZE):
  """What all of SHADERS draw."""
  line = (np.arange(size) + 0.5) / size
  red, green = np.meshgrid(line, line[::-1])
  picture = np.stack([red, green, np.full_like(red, time % 1)], -1)
  return np.round(picture * 255).astype(np.uint8)


@pytest.mark.parametrize("dialect", glsl_dialects.DIALECTS)
def test_every_dialect_gets_its_uniforms(renderer, dialect):
  code = SHADERS[dialect]
  assert glsl_dialects.detect(code) == dialect
  program = renderer.compile(code, dialect)
  image = renderer.draw(program, time=3.25)
  assert np.abs(image.astype(int) - ramp(3.25).astype(int)).max() <= 1
  # Time goes back as well: nothing of the last picture is left.
  again = renderer.draw(program, time=0.5)
  assert np.abs(again.astype(int) - ramp(0.5).astype(int)).max() <= 1


def test_a_first_line_settles_the_dialect():
  assert glsl_dialects.detect("// dialect: geekest_300\nfloat x;") == (
    "geekest_300"
  )
  with pytest.raises(UnsupportedShader, match="'gek'.*geekest_mrt"):
    glsl_dialects.complete("", "gek")


@pytest.mark.parametrize(
  "code, filled",
  [
    ("float i, g; vec3 p;", "float i=float(0), g=float(0); vec3 p=vec3(0);"),
    ("int n = 3, i;", "int n = 3, i=int(0);"),
    ("uniform float t;", "uniform float t;"),
    ("void f(float x);", "void f(float x);"),
    ("for (float i; i < 3.; i++) ;", "for (float i=float(0); i < 3.; i++) ;"),
    ("float a = mix(1., 2., .5), b;", None),
  ],
)
def test_declarations_start_at_zero(code, filled):
  result = glsl_dialects.zero_declarations(code)
  squeeze = lambda text: "".join(text.split())
  if filled is None:
    assert "mix(1., 2., .5)" in result and "b=float(0)" in squeeze(result)
  else:
    assert squeeze(result) == squeeze(filled)


def test_helpers_have_their_ranges(renderer):
  program = renderer.compile(
    "vec2 p = FC.xy / r * 9.;"
    "o = vec4(snoise2D(p), snoise3D(vec3(p, t)), fsnoise(floor(p)), 1.) * .5;"
    "o.rg += .5; o.b *= 2.; o.rg = rotate2D(PI2) * o.rg;"
    "o.rgb = rotate3D(PI2, vec3(1.)) * o.rgb; o.b *= hsv(.3, 0., 1.).x;",
    "geekest_300",
  )
  image = renderer.draw(program, time=1.0)
  assert (image.reshape(-1, 3).std(0) > 10).all()


def test_feedback_sees_the_last_frame(renderer):
  """Each frame adds a tenth to the last one, which began black."""
  code = "o = texture(b, FC.xy / r) + vec4(.1, 0., f / 255., 1.);"
  program = renderer.compile(code, "geekest_300")
  image = renderer.draw(program, time=1.0, warmup=4)
  # Frames 0 to 4: 0.5 in red; blue has 0 + 1 + 2 + 3 + 4.
  assert np.abs(image[0, 0] - np.array([128, 0, 10])).max() <= 1
  np.testing.assert_array_equal(
    image, np.broadcast_to(image[:1, :1], image.shape)
  )


def test_what_cannot_be_drawn_says_why(renderer):
  with pytest.raises(UnsupportedShader, match="does not compile.*nonsense"):
    renderer.compile("o = nonsense;", "geekest_300")
  with pytest.raises(UnsupportedShader, match="256 of 256 pixels are NaN"):
    renderer.draw(renderer.compile(NAN, "geekest_300"), time=2.0)
  image = renderer.draw(renderer.compile(FLAT, "geekest_300"), time=2.0)
  with pytest.raises(UnsupportedShader, match=r"flat: one color, \(76"):
    glsl.check_picture(image)
  two_passes = {"info": {"id": "x"}, "renderpass": [{"code": ""}] * 2}
  with pytest.raises(UnsupportedShader, match="2 passes"):
    glsl_dialects.read_shadertoy(json.dumps(two_passes))
  with pytest.raises(UnsupportedShader, match="not a Shadertoy JSON"):
    glsl_dialects.read_shadertoy("[]")


def test_a_folder_with_bad_shaders_becomes_a_dataset(
  renderer, tmp_path, monkeypatch
):
  monkeypatch.setenv("LP_NUM_THREADS", "1")  # Slow on any machine.
  folder, output = tmp_path / "shaders", tmp_path / "dataset"
  folder.mkdir()
  single = {
    "info": {"id": "abc"},
    "renderpass": [{"code": SHADERS["shadertoy"]}],
  }
  (folder / "toy.json").write_text(json.dumps(single))
  (folder / "good.glsl").write_text(SHADERS["geekest_300"])
  (folder / "endless.glsl").write_text(ENDLESS)
  (folder / "flat.frag").write_text(FLAT)
  (folder / "nan.frag").write_text(NAN)
  (folder / "broken.glsl").write_text("o = ;")
  (folder / "notes.md").write_text("not a shader")
  options = dict(size=128, num_images=3, seed=0, time_limit_s=4.0)
  report = glsl_dataset.render_folder(folder, output, **options)
  assert set(report.written) == {"toy.json", "good.glsl"}
  for name, reason in {
    "endless.glsl": "no picture within 4 s",
    "flat.frag": "flat",
    "nan.frag": "NaN",
    "broken.glsl": "does not compile",
  }.items():
    assert reason in report.skipped[name]
  pictures = glsl_dataset.read_pictures(output / report.written["good.glsl"])
  assert [head["id"] for head, _ in pictures] == [
    f"good.glsl/{i}" for i in range(3)
  ]
  for head, image in pictures:
    assert 0.1 <= head["time_s"] <= 10
    theirs = ramp(head["time_s"], 128)
    assert np.abs(image.astype(int) - theirs.astype(int)).max() <= 1
  # Again: nothing is drawn but the shader that is new.
  (folder / "more.glsl").write_text(SHADERS["geek"])
  lines = []
  again = glsl_dataset.render_folder(
    folder, output, **options, progress=lines.append
  )
  assert lines == ["more.glsl: drawn"] and again.resumed == 6
  with pytest.raises(ValueError, match="another folder"):
    glsl_dataset.render_folder(folder, output, **(options | {"seed": 1}))
  with pytest.raises(ValueError, match="no shaders"):
    glsl_dataset.render_folder(tmp_path / "none", output, **options)


def test_a_worker_survives_what_it_draws(renderer, monkeypatch):
  monkeypatch.setenv("LP_NUM_THREADS", "1")
  with Worker(size=128, time_limit_s=2.0) as worker:
    with pytest.raises(UnsupportedShader, match="may never end"):
      worker.draw(ENDLESS, "geekest_300", times=[1.0] * 3)
    images = worker.draw(SHADERS["geek"], "geek", times=[1.0, 2.5])
  assert images.shape == (2, 128, 128, 3)


def test_clouds_are_the_same_in_both_languages(renderer):
  times = np.array([0.4, 7.1], np.float32)
  ours = np.asarray(clouds.clouds(times, size=SIZE)) * 255
  for floats in (True, False):
    with glsl.Renderer(size=SIZE, floats=floats) as other:
      program = other.compile(clouds.GLSL, "geeker_300")
      for time, image in zip(times, ours, strict=True):
        theirs = other.draw(program, time=float(time))
        assert np.abs(image - theirs).max() < 1.5
        assert image.std() > 20
