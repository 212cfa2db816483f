"""Writes the files that torch.save and torch.jit.save write, without torch.

Opcode by opcode, so that the reader can be tested where torch is not
installed; where it is, tests/encoders_pretrained_test.py also compares with
torch itself.
"""

import pickle
import struct
import zipfile

import numpy as np

_STORAGE = {
  np.dtype(np.float32): "FloatStorage",
  np.dtype(np.float16): "HalfStorage",
  np.dtype(np.int64): "LongStorage",
}


def write_pth(path, tensors, *, tail=b""):
  """A flat dict of tensors, as torch.save writes a state_dict.

  Args:
    path: the file.
    tensors: arrays by name.
    tail: opcodes that a hostile author puts in front of the end.
  """
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
    body = _global("collections", "OrderedDict") + b")R("
    for name, value in tensors.items():
      body += _text(name) + _tensor(archive, value)
    _finish(archive, body + b"u" + tail)


def write_torchscript(path, tensors):
  """A tree of modules named by dots, as torch.jit.save writes one."""
  tree = {}
  for name, value in tensors.items():
    *folders, leaf = name.split(".")
    node = tree
    for folder in folders:
      node = node.setdefault(folder, {})
    node[leaf] = value
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
    _finish(archive, _module(archive, tree, "CLIP"))
    archive.writestr("archive/constants.pkl", b"\x80\x02).")
    archive.writestr("archive/code/__torch__.py", "class CLIP(Module): ...")


def _module(archive, node, kind):
  """Opcodes of one module: an object whose state is its attributes."""
  body = _global("__torch__", kind) + b")\x81}("
  body += _text("training") + b"\x89"
  for name, child in node.items():
    body += _text(name)
    if isinstance(child, dict):
      body += _module(archive, child, f"___torch_mangle_{name}")
    else:
      body += _tensor(archive, child)
  return body + b"ub"


def _tensor(archive, value):
  """Opcodes that rebuild one tensor from a storage, which is written too."""
  value = np.ascontiguousarray(value).reshape(np.shape(value))
  key = str(sum("/data/" in name for name in archive.namelist()))
  archive.writestr(f"archive/data/{key}", value.tobytes())
  strides = [stride // value.itemsize for stride in value.strides]
  storage = (
    b"("
    + _text("storage")
    + _global("torch", _STORAGE[value.dtype])
    + _text(key)
    + _text("cpu")
    + _number(value.size)
    + b"tQ"
  )
  return (
    _global("torch._utils", "_rebuild_tensor_v2")
    + b"("
    + storage
    + _number(0)
    + _numbers(value.shape)
    + _numbers(strides)
    + b"\x89"
    + _global("collections", "OrderedDict")
    + b")RtR"
  )


def _finish(archive, body):
  archive.writestr("archive/data.pkl", pickle.PROTO + b"\x02" + body + b".")
  archive.writestr("archive/byteorder", "little")
  archive.writestr("archive/version", "3\n")


def _global(module, name):
  return f"c{module}\n{name}\n".encode()


def _text(value):
  raw = value.encode()
  return b"X" + struct.pack("<I", len(raw)) + raw


def _number(value):
  return b"J" + struct.pack("<i", value)


def _numbers(values):
  return b"(" + b"".join(_number(value) for value in values) + b"t"


def randomize(model):
  """Draws every tensor of a torch model anew."""
  import torch

  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, tensor in model.named_parameters():
      noise = torch.randn(tensor.shape, generator=generator)
      fan_in = tensor[0].numel() if tensor.ndim > 1 else 16
      is_factor = tensor.ndim == 1 and "bias" not in name
      tensor.copy_(noise * fan_in**-0.5 + (0.7 if is_factor else 0.0))
    for name, tensor in model.named_buffers():  # Of batch normalization.
      if name.endswith(("running_mean", "running_var")):
        noise = torch.rand(tensor.shape, generator=generator)
        tensor.copy_(noise + (0.5 if name.endswith("var") else -0.5))
