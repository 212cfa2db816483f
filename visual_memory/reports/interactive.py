"""Pages that compute: one script, its data, and nothing from elsewhere.

The script is named by its hash in the page's content security policy, so that
no other script runs on it, whatever the data say.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from visual_memory.reports import drawing, rendering


def render_page(name: str, content: Mapping[str, Any], **values: Any) -> str:
  """A packaged page with its script, style and embedded data, as text.

  Args:
    name: of the template and the script among the packaged templates.
    content: what the script reads, as JSON.
    **values: what the template reads.

  Raises:
    ValueError: the content holds NaN or infinity.
    ImportError: jinja2 is absent; names the extra.
  """
  drawing.require_plots()
  environment = rendering.environment()
  source = lambda file: environment.loader.get_source(environment, file)[0]
  script = source(f"{name}.js")
  digest = hashlib.sha256(script.encode()).digest()
  data = json.dumps(content, separators=(",", ":"), allow_nan=False)
  template = environment.get_template(f"{name}.html.jinja")
  return template.render(
    css=rendering.css() + source("interactive.css"),
    script=script,
    script_hash=f"sha256-{base64.b64encode(digest).decode()}",
    # "<" would let a class called "</script>" end the data early.
    data=data.replace("<", "\\u003c"),
    **values,
  )
