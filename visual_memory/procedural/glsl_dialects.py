"""GLSL dialects: what a shader leaves out, put around its code.

source = complete("for(float i;i++<9.;)o+=i/9.;", "geekest_300")

Twigl's four modes, each plain, as ES 300 and with two outputs (MRT), and
Shadertoy's. All become one GLSL ES 3.00 fragment shader.

Reference: the modes of twigl.app and the uniforms of shadertoy.com; where the
code published with Shaders21k differs (classic shaders that never get a time,
iResolution.z, samplers without a texture), this is the modes' own behavior.
"""

import json
import re

MODES = ("classic", "geek", "geeker", "geekest")
VARIANTS = ("", "_300", "_mrt")
DIALECTS = tuple(m + v for m in MODES for v in VARIANTS) + ("shadertoy",)

_PRECISION = "precision highp float;\nprecision highp int;\n"
_OLD_NAMES = """#define gl_FragColor o
#define texture2D texture
#define texture2DLod textureLod
#define varying in
"""
_UNIFORMS = """uniform vec2 r;
uniform vec2 m;
uniform float t;
uniform float f;
uniform float s;
"""
_SHADERTOY = """uniform vec3 iResolution;
uniform float iTime;
uniform float iTimeDelta;
uniform float iFrameRate;
uniform int iFrame;
uniform float iChannelTime[4];
uniform vec3 iChannelResolution[4];
uniform vec4 iMouse;
uniform vec4 iDate;
uniform float iSampleRate;
uniform sampler2D iChannel0;
uniform sampler2D iChannel1;
uniform sampler2D iChannel2;
uniform sampler2D iChannel3;
"""
_HELPERS = """#define FC gl_FragCoord
#define PI 3.141592653589793
#define PI2 6.283185307179586
vec3 hsv(float h, float s, float v) {
  vec3 k = abs(fract(h + vec3(0., 2., 1.) / 3.) * 6. - 3.) - 1.;
  return v * mix(vec3(1.), clamp(k, 0., 1.), s);
}
mat2 rotate2D(float a) {
  float c = cos(a), s = sin(a);
  return mat2(c, s, -s, c);
}
mat3 rotate3D(float a, vec3 axis) {
  vec3 n = normalize(axis);
  float c = cos(a), s = sin(a);
  vec3 p = n * (1. - c);
  return mat3(
    p.x * n + vec3(c, s * n.z, -s * n.y),
    p.y * n + vec3(-s * n.z, c, s * n.x),
    p.z * n + vec3(s * n.y, -s * n.x, c));
}
float fsnoise(vec2 p) {
  return fract(sin(dot(p, vec2(12.9898, 78.233))) * 43758.5453);
}
float fsnoiseDigits(vec2 p) {
  return fract(sin(dot(p, vec2(.129898, .78233))) * 437.585453);
}
vec4 _cell(vec4 p) {
  uvec4 u = floatBitsToUint(p);
  for (int i = 0; i < 3; i++) {
    u = u * 1664525u + 1013904223u;
    u += u.yzwx * 668265263u;
    u ^= u >> 16u;
  }
  return vec4(u >> 8u) / 8388608. - 1.;
}
float snoise4D(vec4 p) {
  vec4 c = floor(p + dot(p, vec4(.309016994)));
  vec4 d = p - c + dot(c, vec4(.138196601));
  vec4 rank = vec4(0.);
  for (int i = 0; i < 4; i++)
    for (int j = i + 1; j < 4; j++) {
      if (d[i] > d[j]) rank[i]++; else rank[j]++;
    }
  float total = 0.;
  for (int k = 0; k < 5; k++) {
    vec4 q = step(vec4(4 - k), rank);
    vec4 e = d - q + float(k) * .138196601;
    float w = max(.6 - dot(e, e), 0.);
    total += w * w * w * w * dot(normalize(_cell(c + q)), e);
  }
  return 27. * total;
}
float snoise3D(vec3 p) { return snoise4D(vec4(p, .5)); }
float snoise2D(vec2 p) { return snoise4D(vec4(p, .5, .5)); }
"""
"""geekest's library, written anew: names and ranges as there."""

_TYPES = r"(?:float|int|u?int|bool|[iub]?vec[234]|mat[234])"
_DECLARATION = re.compile(
  rf"(?<![\w.])(?P<before>(?:const|in|out|inout|uniform|varying)\s+)?"
  rf"(?P<type>{_TYPES})\s+(?P<names>\w+(?:\s*,\s*\w+|\s*=[^;,(){{}}]*"
  rf"(?:\([^;(){{}}]*\)[^;,(){{}}]*)*|\s*,\s*\w+)*)\s*;"
)


class UnsupportedShader(ValueError):
  """A shader that cannot be drawn, and why."""


def complete(code: str, dialect: str) -> str:
  """The whole fragment shader, GLSL ES 3.00.

  Args:
    code: what the user wrote.
    dialect: one of DIALECTS.

  Raises:
    UnsupportedShader: no such dialect, or a Shadertoy of several passes.
  """
  if dialect not in DIALECTS:
    raise UnsupportedShader(
      f"There is no dialect {dialect!r}; there are: {', '.join(DIALECTS)}."
    )
  code = re.sub(r"^\s*#version[^\n]*\n", "", code)
  head = "#version 300 es\n" + _PRECISION
  if dialect == "shadertoy":
    main = (
      "void main() {\n  vec4 color = vec4(0.);\n"
      "  mainImage(color, gl_FragCoord.xy);\n  _o = vec4(color.rgb, 1.);\n}\n"
    )
    body = zero_declarations(code)
    return head + "out vec4 _o;\n" + _SHADERTOY + body + "\n" + main
  mode, _, variant = dialect.partition("_")
  if variant == "":
    head += _OLD_NAMES
  head += _outputs(code, variant)
  if mode in ("geeker", "geekest"):
    head += _UNIFORMS
    names = ("b0", "b1") if variant == "mrt" else ("b",)
    head += "".join(f"uniform sampler2D {name};\n" for name in names)
  body = zero_declarations(code)
  if mode == "geekest":
    lines, start = _split_functions(body)
    body = f"{lines}\nvoid main() {{\n{_clear(variant)}{start}\n}}\n"
    head += _HELPERS
  return head + body


def _outputs(code: str, variant: str) -> str:
  """Declarations of the outputs that the shader does not declare itself."""
  if re.search(r"\bout\s+(?:\w+\s+)?vec4\b", code):
    return ""
  if variant == "mrt":
    return (
      "layout(location = 0) out vec4 o0;\nlayout(location = 1) out vec4 o1;\n"
    )
  return "out vec4 o;\n"


def _clear(variant: str) -> str:
  """Outputs of geekest shaders start as opaque black, so `o +=` works."""
  names = ("o0", "o1") if variant == "mrt" else ("o",)
  return "".join(f"  {name} = vec4(0., 0., 0., 1.);\n" for name in names)


def _split_functions(code: str) -> tuple[str, str]:
  """Preprocessor lines, which stay outside of main, and the rest."""
  lines = code.splitlines()
  outside = [line for line in lines if line.lstrip().startswith("#")]
  inside = [line for line in lines if not line.lstrip().startswith("#")]
  return "\n".join(outside), "\n".join(inside)


def zero_declarations(code: str) -> str:
  """The code with every uninitialized local variable set to zero.

  Short shaders count on `float i;` being 0, which GLSL does not promise.
  """

  def fill(match: re.Match) -> str:
    if match["before"]:
      return match[0]
    kind = match["type"]
    names = []
    for part in _commas(match["names"]):
      names.append(part if "=" in part else f"{part.strip()}={kind}(0)")
    return f"{kind} {','.join(names)};"

  return _DECLARATION.sub(fill, code)


def _commas(text: str) -> list[str]:
  """Parts between the commas that are outside of parentheses."""
  parts, depth = [""], 0
  for letter in text:
    depth += (letter == "(") - (letter == ")")
    if letter == "," and depth == 0:
      parts.append("")
    else:
      parts[-1] += letter
  return parts


def detect(code: str) -> str:
  """The dialect of a shader: as its first line says, or by its words.

  `// dialect: geekest_300` in the first line settles it.
  """
  said = re.match(r"\s*//\s*dialect:\s*(\w+)", code)
  if said:
    return said[1]
  if re.search(r"\bmainImage\s*\(", code):
    return "shadertoy"
  if re.search(r"\bo0\b", code):
    variant = "_mrt"
  elif re.search(r"\bgl_FragColor\b", code):
    variant = ""
  elif re.search(r"#version 300|\bout\s+vec4\b|\bo\b", code):
    variant = "_300"
  else:
    variant = ""
  if not re.search(r"\bvoid\s+main\s*\(", code):
    return "geekest" + variant
  if re.search(r"\buniform\s+\w+\s+\w*\b(?:resolution|time|mouse)\b", code):
    return "classic" + variant
  if re.search(r"\buniform\b", code):
    return "geek" + variant
  return "geeker" + variant


def read_shadertoy(text: str) -> tuple[str, str]:
  """The id and the code of a Shadertoy JSON of one pass.

  Raises:
    UnsupportedShader: not such JSON, or more than one pass.
  """
  try:
    shader = json.loads(text)
    shader = shader.get("Shader", shader)
    passes = shader["renderpass"]
    name, code = shader["info"]["id"], passes[0]["code"]
  except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
    raise UnsupportedShader(
      f"not a Shadertoy JSON with info.id and renderpass ({error!r})"
    ) from error
  if len(passes) != 1:
    raise UnsupportedShader(f"{len(passes)} passes; only one is supported")
  return name, code
