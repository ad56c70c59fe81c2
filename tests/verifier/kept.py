"""The inner nodes that are stored of a tree, and what they say of leaves that are not there any
more."""
import merkle

LEVEL_STEP = 8  # stored are levels 8, 16, 24, …; of what was pruned any others too, and leaves
LEVELS = 63


class KeptNodes:
    def __init__(self, nodes):
        self.nodes = nodes  # {(level, number): hash}

    def get(self, level, number):
        """As stored, or from those below it; None when it does not follow."""
        if level == 0 or (level, number) in self.nodes:
            return self.nodes.get((level, number))
        left = self.get(level - 1, number * 2)
        right = left and self.get(level - 1, number * 2 + 1)
        return merkle.node_hash(left, right) if right else None

    def tree_at(self, size):
        """The tree of that size; None when it does not follow."""
        peaks, start = [], 0
        for level in reversed(range(LEVELS)):
            if size >> level & 1:
                peaks.append(self.get(level, start >> level))
                start += 1 << level
        return None if None in peaks else merkle.Tree(size, peaks)

    def below(self, size):
        """The places of all nodes that have nothing but leaves below that one."""
        return sorted(place for place in self.nodes
                      if is_node(*place) and end_of(*place) <= size)

    def disagrees(self, level, number):
        """Whether the nodes below that one are there and lead to another hash."""
        if level == 0:
            return False
        below = [self.get(level - 1, number * 2 + side) for side in (0, 1)]
        return None not in below and merkle.node_hash(*below) != self.nodes[level, number]


def is_node(level, number):
    return 0 <= level < LEVELS and number >= 0


def is_stored_level(level):
    return level > 0 and level % LEVEL_STEP == 0


def start_of(level, number):
    return number << level


def end_of(level, number):
    return (number + 1) << level
