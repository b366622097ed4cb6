"""A training step of the deeper net in PyTorch, eager and through torch.compile, with images as
NCHW and as NHWC (channels_last).

The net: four 3x3 convolutions, each with batch normalization and relu (32, 32, pool, 64, 64, pool),
a dense layer of 256 with dropout, ten classes; Adam. Prints rows as timing.py describes them.
"""

import shutil

import torch
from torch import nn

import timing

BATCH = 128


def net():
    layers = []
    for i, (inputs, outputs) in enumerate([(1, 32), (32, 32), (32, 64), (64, 64)]):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
        if i % 2 == 1:
            layers.append(nn.MaxPool2d(2))
    dense = [nn.Linear(7 * 7 * 64, 256), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(256, 10)]
    return nn.Sequential(*layers, nn.Flatten(), *dense)


def main():
    args = timing.arguments(steps=30)
    torch.manual_seed(0)
    y = torch.randint(0, 10, (BATCH,))
    compilers = [("eager", lambda model: model)]
    if shutil.which("g++"):
        compilers.append(("torch.compile", torch.compile))
    for way, wrap in compilers:
        for layout in (torch.contiguous_format, torch.channels_last):
            model = net().to(memory_format=layout)
            x = torch.rand(BATCH, 1, 28, 28).to(memory_format=layout)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
            forward = wrap(model)

            def step():
                loss = nn.functional.cross_entropy(forward(x), y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                return loss.item()

            times = timing.measure(step, args)
            name = f"PyTorch {way}" + (" channels_last" if layout == torch.channels_last else "")
            timing.report("deeper net's step, compiled", name, torch.__version__, times)


main()
