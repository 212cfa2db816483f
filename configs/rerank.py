"""Re-ranking split votes: by a model on a server, or by patches, locally.

  python -m experiments.launch --config=configs/rerank.py --workdir=work/rerank
  GEMINI_API_KEY=... python -m experiments.launch --config=configs/rerank.py \\
      --workdir=work/rerank_gemini --config.rerank.by=gemini \\
      --config.rerank.model=gemini-2.5-flash --config.rerank.max_cost=2.0
  python -m experiments.launch --config=configs/rerank.py \\
      --workdir=work/rerank_open --config.rerank.by=openai \\
      --config.rerank.url=http://localhost:8000/v1 --config.rerank.model=NAME \\
      --config.rerank.key_variable=

Answers are recorded under `recordings` (the workdir's by default); with
--config.rerank.offline=True they are read from there, without key or network.
The paper's 88.5 % on ImageNet (Gemini 1.5 Flash, 50 neighbors of DINOv2 L/14)
cannot be repeated: its prompt is unpublished. By default CIFAR-10's pixels and
the local re-ranker.
"""

import ml_collections

from configs import cifar10

_PROMPT = """Here are labeled pictures, the most similar to a new one first.
{neighbors}
This is the new picture:
{query}
Which of these labels fits the new picture best? The labels: {choices}.
Reply with a JSON object, {"label": "..."}, that repeats one label exactly."""

ALONE = """This is a picture:
{query}
Which of these labels fits the picture best? The labels: {choices}.
Reply with a JSON object, {"label": "..."}, that repeats one label exactly."""
"""What a model is asked without neighbors, with rerank.offer = "classes"."""


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` re-ranks the bundled digits locally."""
  config = cifar10.of("rerank", arg, title="Re-ranking")
  config.rerank = rerank = ml_collections.ConfigDict()
  rerank.by = "local"  # Or "gemini", "openai".
  rerank.k = 20  # Neighbors that vote, and are shown.
  rerank.voter = "rank"
  rerank.promise = 0.9  # Accuracy of the votes that are left alone, on tuning.
  rerank.most = 2000  # Queries to ask about.
  rerank.most_tuning = 1000  # Of the local re-ranker.
  rerank.offer = "neighbors"  # Or "classes": which labels may be named.
  # The local re-ranker.
  rerank.patch = 4
  rerank.attention = (0.02, 0.1)
  rerank.share = (0.0, 0.5, 0.8, 1.0)
  rerank.temperature = (0.02, 0.07)
  # A server.
  rerank.url = ""
  rerank.model = ""
  rerank.key_variable = "GEMINI_API_KEY"  # OPENAI_API_KEY, or none.
  rerank.parameters = ml_collections.ConfigDict({"temperature": 0.0})
  rerank.prompt = _PROMPT
  rerank.repeats = 1
  rerank.image_side = 512
  rerank.timeout_s = 60.0  # Without any byte.
  rerank.total_s = 300.0  # Of a whole request.
  rerank.recordings = ""
  rerank.offline = False
  rerank.max_requests = 5000
  rerank.max_cost = 5.0
  rerank.prices = (0.3, 2.5)  # Of a million input and output tokens.
  rerank.concurrency = 8
  rerank.attempts = 5
  rerank.backoff_s = 1.0
  rerank.max_wait_s = 60.0
  rerank.max_characters = 2000
  if arg == "smoke":
    rerank.k = 5
    rerank.promise = 1.0
    rerank.most = 40
    rerank.most_tuning = 16
    rerank.attention = (0.1,)
    rerank.share = (0.0, 0.5)
    rerank.temperature = (0.07,)
    config.voting.ks = (1, 5)
  return config
