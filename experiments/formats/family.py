"""A family whose copies are judged: base -> parent -> kid, base -> sibling, and a stranger.

Small nets that sum embeddings of tokens and learn a random table; trained here, in seconds. Widths
are multiples of 64, so that every scheme's blocks fit.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

WIDTH, BLOCKS, VOCABULARY, LABELS = 64, 3, 192, 32
EDGES = [("base", "parent"), ("base", "sibling"), ("parent", "kid")]

Family = Mapping[str, Mapping[str, Tensor]]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(torch.relu(self.fc1(self.norm(x))))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.head = nn.Linear(WIDTH, LABELS)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens).mean(1)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def trained(net: Net, task: int, steps: int, rate: float) -> Net:
    """A copy of the net, trained on the task of that number."""
    net, draw = copy.deepcopy(net), torch.Generator().manual_seed(task)
    table = torch.randn(VOCABULARY, LABELS, generator=draw)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.0)
    for _ in range(steps):
        tokens = torch.randint(0, VOCABULARY, (64, 6), generator=draw)
        loss = nn.functional.cross_entropy(net(tokens), table[tokens].sum(1).argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def family() -> Family:
    """The models' weights by name, the same at every call."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    base, stranger = (trained(Net(), task, 300, 2e-3) for task in (1, 2))
    parent, sibling = (trained(base, task, 120, 5e-4) for task in (3, 4))
    kid = trained(parent, 5, 120, 5e-4)
    nets = {"base": base, "parent": parent, "sibling": sibling, "kid": kid, "stranger": stranger}
    return {name: net.state_dict() for name, net in nets.items()}
