"""The CRC-32 of a chunk from the CRC-32s of its rows.

A CRC is linear over GF(2): crc(a + b) = crc(a) * x^(8 len(b)) + crc(b), modulo
the CRC's polynomial. Rows have equal lengths, so neighbors can be joined in
pairs, pairs in fours and so on, each level with one constant factor. Checking a
whole chunk then takes one pass over its bytes instead of a call for each row.
"""

import functools

import numpy as np
from jaxtyping import Float32, UInt8, UInt32

from visual_memory.checks import Ids

try:  # The processor's own carry-less products: three times as fast.
  from isal.isal_zlib import crc32
except ImportError:
  from zlib import crc32

__all__ = ["crc32", "joined", "of_rows", "of_short", "of_texts"]

_POLYNOMIAL = 0xEDB88320  # Bit 31 is the constant term: reflected, as in zlib.
_ONE = 1 << 31
_AT_ONCE = 1 << 14
"""Records, whose words stay in a cache."""


def joined(checksums: UInt32[np.ndarray, "R"], row_bytes: int) -> int:
  """The CRC-32 of R rows one after the other.

  Args:
    checksums: of the rows, in order; R is a power of two.
    row_bytes: the length of every row.
  """
  level = 0
  while len(checksums) > 1:
    first, second = checksums[0::2], checksums[1::2]
    checksums = _shifted(first, _tables(row_bytes, level)) ^ second
    level += 1
  return int(checksums[0])


def of_rows(rows: Float32[np.ndarray, "N D"]) -> UInt32[np.ndarray, "N"]:
  """The CRC-32 of every row's bytes."""
  if not rows.size:
    return np.zeros(len(rows), np.uint32)
  rows = np.ascontiguousarray(rows)
  return np.fromiter(map(crc32, rows), np.uint32, len(rows))


def of_short(records: UInt8[np.ndarray, "N L"]) -> UInt32[np.ndarray, "N"]:
  """The CRC-32 of many short records, four bytes of all of them at a time."""
  found = np.empty(len(records), np.uint32)
  whole = records.shape[1] // 4 * 4
  for start in range(0, len(records), _AT_ONCE):
    part = records[start : start + _AT_ONCE]
    words = np.ascontiguousarray(part[:, :whole]).view("<u4")
    state = np.full(len(part), 0xFFFFFFFF, np.uint32)
    for word in np.ascontiguousarray(words.T):
      state = _shifted(state ^ word, _tables(4, 0))
    for byte in part[:, whole:].T:
      state = _shifted(state ^ byte, _tables(1, 0))
    found[start : start + len(part)] = ~state
  return found


def of_texts(texts: Ids) -> UInt32[np.ndarray, "N"]:
  """The CRC-32 of every text's bytes, such as ids."""
  data = (text.encode("utf-8", "surrogatepass") for text in texts)
  return np.fromiter(map(crc32, data), np.uint32, len(texts))


def _shifted(
  values: UInt32[np.ndarray, "M"], tables: UInt32[np.ndarray, "4 256"]
) -> UInt32[np.ndarray, "M"]:
  """Every value times the tables' factor, one byte at a time."""
  result = tables[0][values & 0xFF]
  for byte in range(1, 4):
    result = result ^ tables[byte][(values >> (8 * byte)) & 0xFF]
  return result


@functools.lru_cache(maxsize=256)
def _tables(row_bytes: int, level: int) -> np.ndarray:
  """Products of x^(8 row_bytes 2^level) with every value of every byte."""
  factor = _power(1 << 23, row_bytes << level)  # 1 << 23 is x^8.
  columns = [_product(factor, 1 << bit) for bit in range(32)]
  tables = np.zeros((4, 256), np.uint32)
  for byte in range(4):
    for bit in range(8):
      size = 1 << bit
      column = np.uint32(columns[8 * byte + bit])
      tables[byte, size : 2 * size] = tables[byte, :size] ^ column
  return tables


def _power(base: int, exponent: int) -> int:
  """base^exponent modulo the polynomial."""
  result = _ONE
  while exponent:
    if exponent & 1:
      result = _product(result, base)
    base = _product(base, base)
    exponent >>= 1
  return result


def _product(a: int, b: int) -> int:
  """a * b modulo the polynomial; both reflected."""
  result = 0
  for bit in range(31, -1, -1):
    if a >> bit & 1:
      result ^= b
    b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
  return result
