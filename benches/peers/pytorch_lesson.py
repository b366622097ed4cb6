"""The lesson's training step in PyTorch: eager, and through torch.compile where there is a C++
compiler.

Prints rows as timing.py describes them.
"""

import shutil

import torch
import torch.nn.functional as F

import timing

BATCH = 128


def variables():
    def normal(*shape):
        return (torch.randn(*shape) * 0.05).requires_grad_()

    return [
        normal(32, 1, 3, 3),
        torch.zeros(32, requires_grad=True),
        normal(1024, 14 * 14 * 32),
        torch.zeros(1024, requires_grad=True),
        normal(10, 1024),
        torch.zeros(10, requires_grad=True),
    ]


def loss_of(x, y, weights):
    conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b = weights
    hidden = F.max_pool2d(F.relu(F.conv2d(x, conv_w, conv_b, padding=1)), 2)
    hidden = F.relu(F.linear(hidden.flatten(1), fc1_w, fc1_b))
    return F.cross_entropy(F.linear(hidden, fc2_w, fc2_b), y, reduction="sum")


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
