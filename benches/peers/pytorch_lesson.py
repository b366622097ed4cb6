"""The lesson's training step in PyTorch: eager, and through torch.compile where there is a C++
compiler.

Prints rows as timing.py describes them.
"""

import shutil

import torch
import torch.nn.functional as F

import timing
from pytorch_net import logits, variables

BATCH = 128


def loss_of(x, y, weights):
    return F.cross_entropy(logits(x, weights), y, reduction="sum")


def main():
    args = timing.arguments()
    torch.manual_seed(0)
    x = torch.rand(BATCH, 1, 28, 28)
    y = torch.randint(0, 10, (BATCH,))
    ways = [("PyTorch eager", loss_of)]
    if shutil.which("g++"):
        ways.append(("PyTorch torch.compile", torch.compile(loss_of)))
    for name, loss_function in ways:
        weights = variables()
        optimizer = torch.optim.SGD(weights, lr=0.001)

        def step():
            loss = loss_function(x, y, weights)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return loss.item()

        times = timing.measure(step, args)
        timing.report("lesson's step, compiled", name, torch.__version__, times)


main()
