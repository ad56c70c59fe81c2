"""The tree against the vectors of Certificate Transparency, and against the RFC's own words."""
import hashlib

import merkle
import pytest

# Of certificate-transparency-go; RFC 6962 and RFC 9162 hash alike.
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f")]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_known_roots(size):
    tree = merkle.Tree()
    for leaf in LEAVES[:size]:
        list(tree.add(merkle.leaf_hash(leaf)))
    assert tree.root().hex() == ROOTS[size]
    assert merkle.tree_hash(list(map(merkle.leaf_hash, LEAVES[:size]))).hex() == ROOTS[size]


def test_growing_is_the_definition():
    tree, leaves, nodes = merkle.Tree(), [], {}
    for number in range(300):
        leaves.append(merkle.leaf_hash(b"%d" % number))
        nodes.update({(level, place): hash for level, place, hash in tree.add(leaves[-1])})
        assert tree.size == len(leaves)
        assert tree.root() == merkle.tree_hash(leaves)
    for (level, number), hash in nodes.items():
        assert hash == merkle.tree_hash(leaves[number << level:(number + 1) << level])
    assert len(nodes) == sum(300 >> level for level in range(1, 9))


def test_leaves_and_inner_nodes_differ():
    left, right = (hashlib.sha256(side).digest() for side in (b"l", b"r"))
    assert merkle.node_hash(left, right) != merkle.leaf_hash(left + right)


def test_a_copy_grows_by_itself():
    tree = merkle.Tree()
    list(tree.add(merkle.leaf_hash(b"a")))
    copy = tree.copy()
    list(copy.add(merkle.leaf_hash(b"b")))
    assert tree.root() == merkle.leaf_hash(b"a") and copy.size == 2
