"""The tables and figures of the visual-memory paper, on its own data.

  python -m experiments.launch --config=configs/paper.py:table4 \\
      --config.cache_dir=work/cache --workdir=work/table4

Geirhos et al., "Towards flexible perception with visual memory", ICML 2025. Any
of VARIANTS; `python -m experiments.paper` runs them all. Each builds on an
experiment's own config, and changes what is asked and of which encoder. What to
expect: `published.VISUAL_MEMORY`. Data are looked for under VISUAL_MEMORY_DATA,
unpacked:

  imagenet/{train,val}/SYNSET/*.JPEG        ImageNet-1K
  imagenet-a/SYNSET/*.jpg                   and imagenet-r, sketch
  imagenetv2-matched-frequency-format-val/{0..999}/*        ImageNet-V2
  real.json                                 ReaL's labels
  ninco/CLASS/*                             NINCO
  inaturalist/{train,train_mini,val}/*/*    iNaturalist 2021
  weights/NAME.pth (or a folder NAME)       weights; else they are downloaded

Hardware and time: ImageNet's 1.33 million images cost about 2e17 operations by
ViT-L/14 (6e16 by B/14, 2e16 by S/14), an estimate from the size of the model:
an hour on one large accelerator that reads images fast enough; iNaturalist's
2.8 million two. The cache keeps them; once embedded, all but these take minutes
there: a search of all 1.28 million rows among themselves (table3, figure5) is
3e15 operations, minutes on an accelerator, a day on two CPU cores. The tokens
of appendix_j are embedded anew, and take 26 GB of memory. Appendices L and N
need people.

What is published as curves or examples alone, and so has no number: figure2
(its values at k = 10 to 100 are tables 4 to 8), figure5, figure8, figure10
(about flat up to 60 % of random labels), figure12, figure13 (from
about 62 % for the first neighbor to none for the hundredth), appendix_o (CLIP
blends the objects more often); of unlearning, that it is exact by construction,
within 20 ms a row.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from configs import (
  aggregation,
  attribution,
  class_sequence,
  composition,
  debiasing,
  evaluate,
  hierarchy,
  human_study,
  inaturalist,
  label_noise,
  latency,
  lifelong,
  linear_probe,
  ood_distances,
  pruning,
  reliability,
  rerank,
  scaling,
  shifted_sets,
  unlabeled_growth,
  unlearning,
)

SYNSETS = ("imagenet", "imagenet-a", "imagenet-r", "sketch")
"""Data sets whose folders are called by the synsets of ImageNet."""

WITHOUT = ("Figures 6, 7, 9, 11 and 15 to 17 are parts of others.",)
"""What `experiments.paper --list` says of the rest of the paper."""

ENCODERS = (
  "dinov2_vitl14",
  "dinov2_vitb14",
  "dinov2_vits14",
  "clip_vitl14",
  "clip_vitb16",
)
"""The five of the paper."""


@dataclasses.dataclass(frozen=True)
class Variant:
  """An experiment on the paper's data.

  Attributes:
    of: the module of the experiment's own config.
    title: of the page.
    encoders: the first one, and those that are compared with it.
    form: of the experiment's config.
    change: further changes, made last.
    ask: changes of the question alone, which a stand-in is asked, too.
    own: the module whose own config stands in where the data are not there.
    stands_in: whether anything can, without the paper's data.
  """

  of: Any
  title: str
  encoders: tuple[str, ...] = ("dinov2_vitl14",)
  form: str = ""
  change: Callable[[ml_collections.ConfigDict], None] = lambda config: None
  ask: Callable[[ml_collections.ConfigDict], None] = lambda config: None
  own: Any = None
  stands_in: bool = True


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config of a variant; `smoke` is that of `evaluate`."""
  if arg == "smoke":
    return evaluate.get_config(arg)
  variant = named(arg, VARIANTS)
  config = variant.of.get_config(variant.form)
  config.title = variant.title
  further = list(variant.encoders)
  if "encoder" in config:
    use_encoder(config.encoder, further.pop(0))
  if further:
    config.encoders = ml_collections.ConfigDict()
    for name in further:
      config.encoders[name] = evaluate.encoder(name)
      use_encoder(config.encoders[name], name)
  use_folder(config.memory, "imagenet", "train")
  use_folder(config.data, "imagenet", "val")
  variant.ask(config)
  variant.change(config)
  return config


def named(arg: str, variants: Mapping[str, Any]) -> Any:
  """The variant of a form, or ValueError with the forms that there are."""
  if arg not in variants:
    raise ValueError(
      f"The forms of this config are smoke and {', '.join(variants)}; there is"
      f" no {arg!r}."
    )
  return variants[arg]


def stand_in(arg: str) -> ml_collections.ConfigDict | None:
  """The same experiment on its own data, for where the paper's are not."""
  variant = VARIANTS[arg]
  if not variant.stands_in:
    return None
  config = (variant.own or variant.of).get_config()
  variant.ask(config)
  config.title = evaluate.standing_in(variant.title, config)
  if len(variant.encoders) > 1:  # A figure across encoders stays one.
    config.encoders.shipped = evaluate.encoder("procedural_patches")
  return config


def path(name: str) -> str:
  """Where a data set is, under VISUAL_MEMORY_DATA."""
  return os.path.join(os.environ.get("VISUAL_MEMORY_DATA", "paper_data"), name)


def use_encoder(section: ml_collections.ConfigDict, name: str) -> None:
  """Makes an `encoder` section that of a published encoder, as published."""
  kind = "clip" if name.startswith("clip") else "dino"
  section.name = name
  section.preprocess = f"as_published_{kind}"
  section.options = ml_collections.ConfigDict()


def use_folder(
  section: ml_collections.ConfigDict, name: str, split: str | None = None
) -> None:
  """Makes a source section that of a folder of images."""
  section.source = "folder"
  section.classes = ()
  section.class_names = "imagenet_1k" if name in SYNSETS else ""
  section.options.path = path(name)
  section.options.split = split or config_dict.placeholder(str)


def _every_k(config) -> None:
  config.voting.ks = tuple(range(1, 101))


def _on_inaturalist(config, rows: str = "train") -> None:
  use_folder(config.memory, "inaturalist", rows)
  use_folder(config.data, "inaturalist", "val")


def _growing(config) -> None:
  config.growth.per_class = (1, 10, 100, 1000, 10_000)  # The last: all.


def _probes(config) -> None:
  config.probe.batch_size = 1024
  config.probe.strengths = tuple(10.0**power for power in range(-6, 7, 2))
  config.probe.refinements, config.probe.max_steps = 4, 1000


def _other_sets(config) -> None:
  for section in config.sets.values():
    use_folder(section, section.options.path, section.options.split)
  config.sets.real.labels = path("real.json")
  _every_k(config)


def _new_classes(config) -> None:
  use_folder(config.added, "ninco")
  _every_k(config)


def _outside(config) -> None:
  ninco = config.outside.digits
  config.outside = ml_collections.ConfigDict({"ninco": ninco})
  use_folder(config.outside.ninco, "ninco")


def _predicting(config) -> None:
  """The other choices are CLIP's; the paper does not say which model's."""
  use_encoder(config.human.distractors, "clip_vitl14")
  config.human.text.name = "clip_vitl14"
  config.human.text.templates = "imagenet_7"
  use_folder(config.data, "imagenet-a")


def _preferring(config) -> None:
  config.human.kind, config.human.trials = "preference", 100
  config.human.title = "Which name fits?"


def _errors(config) -> None:
  use_folder(config.data, "imagenet-a")


def _reranking(config) -> None:
  """The paper's model, the paper's neighbors; its prompt is unpublished."""
  config.rerank.by, config.rerank.model = "gemini", "gemini-1.5-flash"
  config.rerank.k = 50
  config.rerank.promise = 1.0  # All are asked about, but for these:
  config.rerank.most = 1000


def _model_alone(config) -> None:
  """The same questions without a neighbor: all classes are on offer."""
  _reranking(config)
  config.rerank.offer = "classes"
  config.rerank.prompt = rerank.ALONE


def _biased(config) -> None:
  config.bias.label = "tabby"


def _zebras(config) -> None:
  config.removals.label = "zebra"


def _voters(title: str, *encoders: str, **more) -> Variant:
  return Variant(aggregation, title, encoders, **more)


VARIANTS = {
  "table1": Variant(lifelong, "Table 1: lifelong learning", form="ninco",
                    change=_new_classes),
  "table2": Variant(shifted_sets, "Table 2: other test sets", form="imagenet",
                    change=_other_sets),
  "table3": Variant(pruning, "Table 3: pruning", change=_every_k),
  "table4": _voters("Table 4: voters, DINOv2 ViT-L/14", "dinov2_vitl14"),
  "table5": _voters("Table 5: voters, DINOv2 ViT-B/14", "dinov2_vitb14"),
  "table6": _voters("Table 6: voters, DINOv2 ViT-S/14", "dinov2_vits14"),
  "table7": _voters("Table 7: voters, CLIP ViT-L/14", "clip_vitl14"),
  "table8": _voters("Table 8: voters, CLIP ViT-B/16", "clip_vitb16"),
  "table9": _voters("Table 9: best k", "dinov2_vitl14", "clip_vitl14"),
  "table10": Variant(latency, "Table 10: storage and latency", ENCODERS),
  "figure1": Variant(reliability, "Figures 1, 11: reliability", ENCODERS),
  "figure2": _voters("Figures 2, 7 to 9: all encoders", *ENCODERS),
  "figure3": Variant(scaling, "Figure 3: growing the memory", ENCODERS[:3],
                     change=_growing),
  "figure4": Variant(
    inaturalist, "Figure 4: species discovery",
    change=lambda config: _on_inaturalist(config, "train_mini"),
    own=hierarchy,
  ),
  "figure5": Variant(attribution, "Figures 5, 6, 16, 17: attribution"),
  "figure8": _voters("Figure 8: iNaturalist", *ENCODERS,
                     change=_on_inaturalist),
  "figure10": Variant(label_noise, "Figure 10: label corruption"),
  "figure12": Variant(ood_distances, "Figure 12: distances to NINCO",
                      change=_outside),
  "figure13": Variant(reliability, "Figure 13: reliability, iNaturalist",
                      ENCODERS, change=_on_inaturalist),
  "figure14": Variant(
    reliability, "Figures 14, 15, appendix M: calibration", ENCODERS
  ),
  "section_2_2": Variant(rerank, "Section 2.2: re-ranking by Gemini",
                         change=_reranking),
  "section_2_2_alone": Variant(rerank, "Section 2.2: Gemini alone",
                               change=_model_alone, stands_in=False),
  "section_3_3": Variant(unlabeled_growth,
                         "Section 3.3: growing by rows without labels"),
  "section_3_3_steps": Variant(class_sequence,
                               "Section 3.3: classes that arrive in steps"),
  "unlearning": Variant(unlearning, "Section 3.4: unlearning",
                        change=_zebras),
  "appendix_j": Variant(linear_probe, "Appendix J: linear probes",
                        change=_probes),
  "appendix_l": Variant(human_study, "Appendix L: predicting the model",
                        change=_predicting),
  "appendix_n": Variant(human_study, "Appendix N: preferring a label",
                        change=_errors, ask=_preferring),
  "appendix_o": Variant(composition, "Appendix O: compositionality"),
  "appendix_o_clip": Variant(
    composition, "Appendix O: compositionality, CLIP", ("clip_vitl14",)
  ),
  "appendix_p": Variant(debiasing, "Appendix P: a bias, found and removed",
                        change=_biased),
}  # fmt: skip
