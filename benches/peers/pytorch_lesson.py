"""The lesson's training step in PyTorch, eager.

Prints one JSON object a line: {"what", "peer", "version", "ms": [...]}.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F


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


def train_step(x, y, weights, optimizer):
    conv_w, conv_b, fc1_w, fc1_b, fc2_w, fc2_b = weights
    hidden = F.max_pool2d(F.relu(F.conv2d(x, conv_w, conv_b, padding=1)), 2)
    hidden = F.relu(F.linear(hidden.flatten(1), fc1_w, fc1_b))
    loss = F.cross_entropy(F.linear(hidden, fc2_w, fc2_b), y, reduction="sum")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    args = parser.parse_args()

    torch.manual_seed(0)
    x = torch.rand(args.batch, 1, 28, 28)
    y = torch.randint(0, 10, (args.batch,))
    weights = variables()
    optimizer = torch.optim.SGD(weights, lr=0.001)
    times = []
    for i in range(args.steps + 10):
        start = time.perf_counter()
        train_step(x, y, weights, optimizer).item()
        if i >= 10:
            times.append((time.perf_counter() - start) * 1e3)
    row = {"what": "step, eager", "peer": "PyTorch", "version": torch.__version__, "ms": times}
    print(json.dumps(row), flush=True)


main()
