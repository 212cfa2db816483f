"""Packaging: a small TensorFlow-free base, everything heavier in an extra."""

import pathlib
import re

from setuptools import find_packages, setup

BASE = [
  "absl-py>=2.1",
  "clu>=0.0.12",  # mergeable metrics; its writers need TensorFlow, unused
  "flax>=0.12",
  # CRC-32 three times as fast as zlib's; without it the store uses zlib.
  "isal>=1.7; platform_machine in 'x86_64 AMD64 aarch64 arm64'",
  "jax>=0.10",
  "jinja2>=3.1",  # every page, `visual-memory explain` among them
  "jaxtyping>=0.3",  # shapes in signatures, checked by the tests alone
  "ml-collections>=1.1",
  "numpy>=2.0",
  "orbax-checkpoint>=0.11.30",
  "pillow>=10.4",  # decoding and the reference bicubic resize
  "scipy>=1.13",  # the Kolmogorov distribution (JAX brings it anyway)
  "tensorstore>=0.1.75",  # the durable memory store
]
DATA = [
  "array-record>=0.8",
  "grain>=0.2.12",
  "ijson>=3.3",  # streams published neighbor files of several GB
  "scikit-learn>=1.5",  # the bundled digits; probes and metrics
  "tensorflow-datasets>=4.9.8",  # read through data_source: no TensorFlow
]
PRETRAINED = [
  "ftfy>=6.2",  # OpenAI's text cleaning, exactly
  "huggingface-hub>=0.30",
  "regex>=2024.4",  # splits text into CLIP's words, as published
  "safetensors>=0.4.5",
  "tokenizers>=0.21",  # byte-level BPE in Rust
]
TRAIN = ["optax>=0.2.4", "tensorboardX>=2.6"]
PLOTS = ["matplotlib>=3.9"]
CLI = ["pyarrow>=16"]  # Parquet, for export and import
# Asking a model on a server: a limit on the whole time of an exchange, and no
# redirect, which the standard library's client does not offer.
VLM = ["httpx>=0.27"]
# Its data sets, from disk or fetched; pandas and pyarrow come with it.
HUGGINGFACE = ["datasets>=3"]
HEIF = ["pillow-heif>=0.18"]
SERVE = [
  "starlette>=0.40",  # routes and requests; small, and kept
  "uvicorn>=0.30",  # the server below it
]
PERCEPTION = [
  "opencv-python-headless>=4.10",  # SIFT
  "pycocotools>=2.0.8",  # COCO's run-length masks
  "scikit-image>=0.24",  # SSIM and PSNR
]
DOCS = [
  "furo>=2024.8",  # the theme
  "myst-parser>=4.0",  # pages in Markdown
  "sphinx>=8.0",
]
TEST = [
  "beartype>=0.20",  # checks the jaxtyping annotations
  "cryptography>=43",
  "hypothesis>=6.100",  # random edit sequences
  "ipykernel>=6.29",
  "moderngl>=5.12",  # a user's own GLSL
  "nbclient>=0.10",  # executes the notebooks
  "playwright>=1.49",  # drives the system's Chromium
  "pytest>=8.3",
  "pytest-xdist>=3.6",
  "ruff>=0.9",
  "setuptools>=68",  # builds the wheel; environments of 3.12 have none
  "zarr>=3.0",  # the reader that the store must satisfy
]

HERE = pathlib.Path(__file__).parent
README = HERE / "README.md"
_INIT = (HERE / "visual_memory/__init__.py").read_text(encoding="utf-8")
_VERSION = re.search(r'__version__ = "(.+)"', _INIT)[1]
_URL = "https://github.com/visual-memory/visual_memory"

setup(
  name="visual_memory",
  version=_VERSION,
  description="Perception with an editable memory, in JAX",
  long_description=README.read_text(encoding="utf-8"),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  author="The visual_memory authors",
  url=_URL,
  project_urls={
    "Source": _URL,
    "Changelog": f"{_URL}/blob/main/CHANGELOG.md",
  },
  keywords="jax flax nearest-neighbors visual-memory unlearning dinov2 clip",
  classifiers=[
    "Development Status :: 4 - Beta",
    "Intended Audience :: Science/Research",
    "Operating System :: POSIX",
    "Programming Language :: Python :: 3.11",
    "Programming Language :: Python :: 3.12",
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
    "Topic :: Scientific/Engineering :: Image Recognition",
  ],
  python_requires=">=3.11",
  packages=find_packages(include=["visual_memory", "visual_memory.*"]),
  package_data={
    "visual_memory": ["py.typed"],
    "visual_memory.data": ["names/*"],
    "visual_memory.encoders": ["shipped/*"],
    "visual_memory.native": ["*.cpp", "*.h"],
    "visual_memory.reports": ["templates/*"],
    "visual_memory.server": ["static/*"],
  },
  entry_points={
    "console_scripts": ["visual-memory = visual_memory.cli.main:main"]
  },
  install_requires=BASE,
  extras_require={
    "data": DATA,
    "pretrained": PRETRAINED,
    "plots": PLOTS,
    "cli": CLI,
    # The photographs of most telephones, through Pillow.
    "heif": HEIF,
    "huggingface": HUGGINGFACE,
    "scann": ["scann>=1.4"],
    # Receipts signed with a key of the user's.
    "signing": ["cryptography>=43"],
    "train": TRAIN,
    "gl": ["moderngl>=5.12"],
    "vlm": VLM,
    "perception": PERCEPTION,
    # Peers that the benchmarks run against.
    "bench": ["faiss-cpu>=1.11", "threadpoolctl>=3.5", "usearch>=2.17"],
    "docs": DOCS,
    "serve": SERVE + CLI,
    "colab": DATA + PLOTS + ["ipykernel>=6.29"],
    "test": TEST
    + HEIF
    + HUGGINGFACE
    + TRAIN
    + PERCEPTION
    + DATA
    + PRETRAINED
    + PLOTS
    + CLI
    + DOCS
    + VLM
    + SERVE,
  },
)
