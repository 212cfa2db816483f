"""Pages for a study with people, and the analysis of their answers.

  python -m experiments.launch --config=configs/human_study.py \\
      --config.cache_dir=work/cache --workdir=work/human_study

Then hand out work/human_study/site, gather the saved files in one folder, and
run the same with `--config.human.responses=FOLDER --workdir=ANOTHER`. Appendix
L of the visual-memory paper (`kind` = prediction) and, with

      --config.human.kind=preference --config.human.trials=100

appendix N. Half a minute on two CPU cores. Published: 56 % of the predictions
of DINOv2 ViT-L/14 on ImageNet-A guessed without, 83 % with neighbors; 39.3 %
prefer the model's label.
"""

import ml_collections

from configs import cifar10, dual_memory, evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` makes four trials of the bundled digits."""
  config = cifar10.of("human_study", arg, title="A study with people")

  config.human = ml_collections.ConfigDict()
  config.human.kind = "prediction"  # Or preference.
  config.human.title = "What will the computer say?"
  config.human.trials = 40
  config.human.choices = 4
  config.human.neighbors = 4  # Shown in condition B.
  config.human.participants = 20  # Different orders.
  config.human.within = True  # Each person sees both conditions.
  # Whose top predictions are the other choices; without a name any classes.
  config.human.distractors = evaluate.encoder("")
  config.human.text = dual_memory.text("")  # Its text tower; or its votes.
  config.human.extras = ()  # Further choices, of preference trials.
  config.human.responses = ""  # A folder of saved files.

  if arg == "smoke":
    config.memory.class_names = config.data.class_names = "digits"
    config.human.trials = 4
    config.human.distractors = evaluate.encoder("pixels", size=4)
    config.human.participants = 2
  return config
