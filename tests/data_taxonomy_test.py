"""Taxonomies from paths, tables and links, and what is refused."""

import numpy as np
import pytest

from visual_memory.data import taxonomy
from visual_memory.data.folder import folder

PATHS = [("b", "x", "1"), ("a", "x", "2"), ("b", "w", "3"), ("a", "x", "4")]


def test_nodes_are_sorted_paths():
  tree = taxonomy.from_paths(PATHS, levels=("top", "middle", "class"))
  assert tree.nodes[0] == (("a",), ("b",))
  assert tree.nodes[1] == (("a", "x"), ("b", "w"), ("b", "x"))
  np.testing.assert_array_equal(
    tree.ancestors, [[1, 2, 0], [0, 0, 1], [1, 1, 2], [0, 0, 3]]
  )
  assert [p.tolist() for p in tree.parents] == [[0, 0], [0, 1, 1], [2, 0, 1, 0]]
  assert tree.num_classes == 4


def test_both_forms_of_a_table_agree(tmp_path):
  wide, links = tmp_path / "wide.csv", tmp_path / "links.csv"
  lines = [("b", "bx", "1"), ("a", "ax", "2"), ("b", "bw", "3")]
  wide.write_text(
    "top,middle,class\n" + "".join(",".join(row) + "\n" for row in lines)
  )
  links.write_text("child,parent\n1,bx\n2,ax\n3,bw\nbx,b\nax,a\nbw,b\na,\nb,\n")
  names = ("2", "3", "1")
  first = taxonomy.from_csv(wide, class_names=names)
  second = taxonomy.from_csv(links, class_names=names)
  np.testing.assert_array_equal(first.ancestors, second.ancestors)
  assert first.nodes == second.nodes
  assert first.levels == ("top", "middle", "class")


def test_nested_folders_are_a_taxonomy(data_file):
  source = folder(data_file("cifar100_half.zip"), split="test")
  tree = taxonomy.from_paths(source.taxonomy)
  assert [len(nodes) for nodes in tree.nodes] == [20, 100]
  label = source.class_names.index("maple_tree")
  assert tree.nodes[0][tree.ancestors[label, 0]] == ("trees",)


def test_inaturalist_spells_its_taxonomy_out():
  names = (
    "00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris",
    "00001_Animalia_Chordata_Aves_Passeriformes_Corvidae_Corvus_corax",
  )
  tree = taxonomy.from_joined_names(names)
  assert tree.levels[0] == "kingdom" and tree.levels[-1] == "species"
  assert tree.ancestors[0, 0] == tree.ancestors[1, 0]
  assert tree.nodes[6][1][-2:] == ("Corvus", "corax")
  with pytest.raises(ValueError, match="'00002_Animalia' has 1 levels, not 7"):
    taxonomy.from_joined_names(["00002_Animalia"])


@pytest.mark.parametrize(
  "parents, error",
  [
    ({"x": "y", "y": "z", "z": "x"}, "circle: x -> y -> z -> x"),
    ({"x": "x"}, "circle: x -> x"),
    ({"x": "y"}, "'x' is an orphan.*its parent 'y'"),
    ({"y": ""}, "class 'x' is an orphan"),
    ({"x": "y", "y": "", "v": ""}, "'v' lies 1 levels deep, but 'y/x'"),
  ],
)
def test_broken_links_are_named(parents, error):
  names = ("x", "v") if "v" in parents else ("x",)
  with pytest.raises(ValueError, match=error):
    taxonomy.from_parents(parents, class_names=names)


@pytest.mark.parametrize(
  "content, error",
  [
    ("child,parent\nx,a\nx,b\na,\nb,\n", "'x' has two parents, 'a' and 'b'"),
    ("child,parent\nx,\ny\n", "row 3: 1 cells under 2 columns"),
    ("top,class\na,y\n", "1 classes have no row, for example 'x'"),
    ("top,class\na,x\nb,x\n", "'x' has two rows that differ"),
    ("top,class\n,x\n", "empty name on level 1"),
    ("top,class\n", "no row"),
    ("", "no header"),
  ],
)
def test_broken_tables_are_named(tmp_path, content, error):
  path = tmp_path / "tree.csv"
  path.write_text(content)
  with pytest.raises(ValueError, match=error):
    taxonomy.from_csv(path, class_names=("x",))


def test_paths_must_be_of_one_depth_and_distinct():
  with pytest.raises(ValueError, match="occurs twice"):
    taxonomy.from_paths([("a", "x"), ("a", "x")])
  with pytest.raises(ValueError, match="at least one class"):
    taxonomy.from_paths([])
  with pytest.raises(ValueError, match="3 names for 2 levels"):
    taxonomy.from_paths([("a", "x")], levels=("1", "2", "3"))
